// Jobs of uneven size over torch's threads: whoever is free takes the next one.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

namespace bevkd {

// Calls run(state, job) for each job in [0, jobs) on at most torch.get_num_threads() threads; every thread makes one
// state. Jobs must not depend on each other. After an exception the jobs of its thread end, and it is thrown.
//
// torch's own team of threads, because it still spins from the operator before: threads of another pool would have to
// be woken, and share their cores with the spinning ones.
template <typename MakeState, typename Run>
void share(int64_t jobs, const MakeState& make_state, const Run& run) {
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(jobs, at::in_parallel_region() ? 1 : at::get_num_threads());
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    std::optional<decltype(make_state())> state;
    for (int64_t job; (job = next.fetch_add(1, std::memory_order_relaxed)) < jobs;) {
      if (!state) state.emplace(make_state());
      run(*state, job);
    }
  });
}

template <typename Run>
void share(int64_t jobs, const Run& run) {
  share(jobs, [] { return 0; }, [&](int, int64_t job) { run(job); });
}

}  // namespace bevkd
