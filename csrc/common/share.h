// Jobs of uneven size over torch's threads: whoever is free takes the next one.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace bevkd {

// Calls run(state, job) for each job in [0, jobs); every thread makes one state. Jobs must not depend on each other.
template <typename MakeState, typename Run>
void share(int64_t jobs, const MakeState& make_state, const Run& run) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(jobs, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    auto state = make_state();
    for (int64_t job; (job = next.fetch_add(1, std::memory_order_relaxed)) < jobs;) run(state, job);
  });
}

template <typename Run>
void share(int64_t jobs, const Run& run) {
  share(jobs, [] { return 0; }, [&](int, int64_t job) { run(job); });
}

}  // namespace bevkd
