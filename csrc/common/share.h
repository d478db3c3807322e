// Jobs of uneven size over torch's threads: whoever is free takes the next one.
//
// at::parallel_for ends when each of its threads has arrived, work or not. On a machine that has other things to do, a
// thread that is not running keeps the others spinning for a slice of the scheduler, longer than a whole voxelization.
// Here the caller works through the jobs, helpers from torch's pool join when they get to run, and the caller waits for
// nothing but jobs that a helper has begun: a busy machine costs the help, never more.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <thread>

namespace bevkd {

// Calls run(state, job) for each job in [0, jobs) on at most torch.get_num_threads() threads; every thread makes one
// state. Jobs must not depend on each other. Of several exceptions one is thrown, after all jobs have ended.
template <typename MakeState, typename Run>
void share(int64_t jobs, const MakeState& make_state, const Run& run) {
  struct Board {
    explicit Board(int64_t jobs) : unfinished(jobs) {}
    std::atomic<int64_t> next{0}, unfinished;
    std::atomic_flag has_error = ATOMIC_FLAG_INIT;
    std::exception_ptr error;
  };
  const auto board = std::make_shared<Board>(jobs);
  const auto work = [board, jobs, &make_state, &run] {
    std::optional<decltype(make_state())> state;
    // Whoever comes too late for a job touches nothing of the caller's, who may be gone.
    for (int64_t job; (job = board->next.fetch_add(1, std::memory_order_relaxed)) < jobs;) {
      try {
        if (!state) state.emplace(make_state());
        run(*state, job);
      } catch (...) {
        if (!board->has_error.test_and_set()) board->error = std::current_exception();
      }
      board->unfinished.fetch_sub(1, std::memory_order_release);
    }
  };
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  for (int64_t helper = 1; helper < std::min(jobs, threads); ++helper) at::launch(work);
  work();
  while (board->unfinished.load(std::memory_order_acquire) > 0) std::this_thread::yield();
  if (board->error) std::rethrow_exception(board->error);
}

template <typename Run>
void share(int64_t jobs, const Run& run) {
  share(jobs, [] { return 0; }, [&](int, int64_t job) { run(job); });
}

}  // namespace bevkd
