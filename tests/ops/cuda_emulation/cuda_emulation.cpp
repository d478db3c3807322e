// The scheduler behind cuda_emulation.h: one launch at a time, one block after another, fibres for threads.
#include "cuda_emulation.h"

#include <link.h>

#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "faults.h"
#include "fibre.h"

namespace bevkd::emulation {
namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kMaxShared = 163 * 1024;  // of sm_80
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kFence = 0;  // the address sanitizer has its own
#else
constexpr size_t kFence = 64;  // bytes after dynamic shared memory that nobody may write
#endif
constexpr char kPoison = '\xff';           // NaN as a float, -1 as an integer

enum class State { kReady, kBarrier, kWarp, kDone };

struct Thread {
  Fibre fibre;
  Place place;
  State state;
  int line;
  // What it asks of its warp, and what it got.
  WarpOp op;
  unsigned mask;
  uint64_t value;
  int argument, width;
};

struct Launch {
  std::string name;
  dim3 grid, block;
  unsigned threads = 0;
  std::string failure;
  Thread* running = nullptr;
};

std::mutex launching;
std::mt19937 shuffler(1);
Launch launch_now;
std::vector<std::unique_ptr<Thread>> pool;
std::vector<char> dynamic_memory;
std::function<std::string()> check_after_launch = [] { return std::string(); };

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error("emulated CUDA kernel " + launch_now.name + ": " + what);
}

std::vector<unsigned> shuffled(unsigned begin, unsigned end) {
  std::vector<unsigned> order(end - begin);
  std::iota(order.begin(), order.end(), begin);
  std::shuffle(order.begin(), order.end(), shuffler);
  return order;
}

void park(State state, int line) {
  Thread& self = *launch_now.running;
  self.state = state;
  self.line = line;
  self.fibre.leave();
}

// Static shared memory is this library's thread-local storage, which exists from the first use of any of it.
thread_local volatile char anchor = 0;
int poison_static_shared(dl_phdr_info* info, size_t, void*) {
  const auto here = reinterpret_cast<ElfW(Addr)>(&poison_static_shared);
  bool ours = false;
  size_t bytes = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    const ElfW(Addr) begin = info->dlpi_addr + segment.p_vaddr;
    ours |= segment.p_type == PT_LOAD && begin <= here && here < begin + segment.p_memsz;
    if (segment.p_type == PT_TLS) bytes = segment.p_memsz;
  }
  if (ours && info->dlpi_tls_data != nullptr) std::memset(info->dlpi_tls_data, kPoison, bytes);
  return ours;
}

uint64_t bits_of(const std::vector<Thread*>& lanes, unsigned mask) {
  uint64_t bits = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) != 0 && lanes[lane] != nullptr && lanes[lane]->value != 0) bits |= uint64_t(1) << lane;
  }
  return bits;
}

// The lane that a shuffle reads, or the lane itself where CUDA says that the value stays.
unsigned source_lane(const Thread& thread, unsigned lane) {
  const int width = thread.width, first = static_cast<int>(lane) / width * width, at = static_cast<int>(lane);
  switch (thread.op) {
    case WarpOp::kShuffle:
      return first + (thread.argument & (width - 1));
    case WarpOp::kShuffleUp:
      return at - thread.argument >= first ? at - thread.argument : at;
    case WarpOp::kShuffleDown:
      return at + thread.argument < first + width ? at + thread.argument : at;
    default:
      return (at ^ thread.argument) < first + width ? at ^ thread.argument : at;
  }
}

uint64_t result_of(const std::vector<Thread*>& lanes, unsigned lane, unsigned present) {
  const Thread& thread = *lanes[lane];
  switch (thread.op) {
    case WarpOp::kSync:
      return 0;
    case WarpOp::kBallot:
      return bits_of(lanes, present);
    case WarpOp::kAny:
      return bits_of(lanes, present) != 0;
    case WarpOp::kAll:
      return bits_of(lanes, present) == present;
    default: {
      const unsigned source = source_lane(thread, lane);
      return (present >> source & 1) != 0 ? lanes[source]->value : ~uint64_t(0);  // undefined: poison
    }
  }
}

// Lets the lanes of one mask go on if all that still live are in the same operation.
bool resolve(std::vector<Thread*>& lanes, unsigned lane) {
  const Thread& first = *lanes[lane];
  unsigned present = 0;
  for (unsigned other = 0; other < kWarp; ++other) {
    if ((first.mask >> other & 1) == 0 || lanes[other] == nullptr || lanes[other]->state == State::kDone) continue;
    const Thread& thread = *lanes[other];
    const bool together = thread.mask == first.mask && thread.op == first.op && thread.line == first.line;
    if (thread.state != State::kWarp || !together) return false;
    present |= 1u << other;
  }
  uint64_t results[kWarp];
  for (unsigned other = 0; other < kWarp; ++other) {
    if ((present >> other & 1) != 0) results[other] = result_of(lanes, other, present);
  }
  for (unsigned other = 0; other < kWarp; ++other) {
    if ((present >> other & 1) == 0) continue;
    lanes[other]->value = results[other];
    lanes[other]->state = State::kReady;
  }
  return true;
}

void run_lane(Thread& thread, const std::function<void()>& work) {
  launch_now.running = &thread;
  thread.fibre.enter(work);
  if (!launch_now.failure.empty()) fail(launch_now.failure);
}

// Runs a warp until each of its threads is at the block's barrier or done.
void run_warp(unsigned warp, const std::function<void()>& work) {
  std::vector<Thread*> lanes(kWarp, nullptr);
  for (unsigned lane = 0; lane < kWarp && warp * kWarp + lane < launch_now.threads; ++lane) {
    lanes[lane] = pool[warp * kWarp + lane].get();
  }
  for (bool progress = true; progress;) {
    progress = false;
    for (const unsigned lane : shuffled(0, kWarp)) {
      if (lanes[lane] != nullptr && lanes[lane]->state == State::kReady) run_lane(*lanes[lane], work);
    }
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      if (lanes[lane] != nullptr && lanes[lane]->state == State::kWarp) progress |= resolve(lanes, lane);
    }
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (lanes[lane] != nullptr && lanes[lane]->state == State::kWarp) {
      fail("lane " + std::to_string(lane) + " waits in a warp operation on line " + std::to_string(lanes[lane]->line) +
           " for lanes of its mask that are elsewhere");
    }
  }
}

// Opens the block's barrier; false when every thread is done.
bool open_barrier() {
  const Thread* first = nullptr;
  for (unsigned i = 0; i < launch_now.threads; ++i) {
    Thread& thread = *pool[i];
    if (thread.state == State::kDone) continue;
    if (first != nullptr && thread.line != first->line) {
      fail("__syncthreads on line " + std::to_string(first->line) + " and on line " + std::to_string(thread.line) +
           " are reached by different threads");
    }
    first = &thread;
    thread.state = State::kReady;
  }
  return first != nullptr;
}

void run_block(unsigned number, size_t shared_bytes, const std::function<void()>& work) {
  const dim3 grid = launch_now.grid, block = launch_now.block;
  anchor = kPoison;
  dl_iterate_phdr(poison_static_shared, nullptr);
  std::fill_n(dynamic_memory.begin(), shared_bytes + kFence, kPoison);
  for (unsigned i = 0; i < launch_now.threads; ++i) {
    Thread& thread = *pool[i];
    thread.place = {{i % block.x, i / block.x % block.y, i / block.x / block.y},
                    {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y},
                    block,
                    grid};
    thread.state = State::kReady;
  }
  do {
    for (const unsigned warp : shuffled(0, (launch_now.threads + kWarp - 1) / kWarp)) run_warp(warp, work);
  } while (open_barrier());
  const auto fence = dynamic_memory.begin() + static_cast<std::ptrdiff_t>(shared_bytes);
  if (!std::all_of(fence, fence + kFence, [](char byte) { return byte == kPoison; })) {
    fail("wrote past the " + std::to_string(shared_bytes) + " bytes of dynamic shared memory");
  }
}

void prepare(const char* name, dim3 grid, dim3 block, size_t shared_bytes) {
  launch_now = {name, grid, block, block.x * block.y * block.z, "", nullptr};
  if (launch_now.threads < 1 || launch_now.threads > 1024 || block.z > 64) fail("a block has 1 to 1024 threads");
  if (grid.y > 65535 || grid.z > 65535 || grid.x > INT32_MAX) fail("the grid is too large");
  if (shared_bytes > kMaxShared) fail("asks for " + std::to_string(shared_bytes) + " bytes of shared memory");
  while (pool.size() < launch_now.threads) pool.push_back(std::make_unique<Thread>());
  dynamic_memory = std::vector<char>(shared_bytes + kFence);  // no larger: its end is watched
}

}  // namespace

const Place& current() { return launch_now.running->place; }

void* dynamic_shared() { return dynamic_memory.data(); }

void sync_threads(int line) { park(State::kBarrier, line); }

uint64_t warp_operation(WarpOp op, unsigned mask, uint64_t value, int argument, int width, int line) {
  Thread& self = *launch_now.running;
  const Place& at = self.place;
  const unsigned lane = (at.thread.x + at.block_dim.x * (at.thread.y + at.block_dim.y * at.thread.z)) % kWarp;
  if ((mask >> lane & 1) == 0) stop_kernel("a lane is missing from its own mask");
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) stop_kernel("the width of a shuffle is no power of 2");
  self.op = op;
  self.mask = mask;
  self.value = value;
  self.argument = argument;
  self.width = width;
  park(State::kWarp, line);
  return self.value;
}

void set_check_after_launch(std::function<std::string()> check) { check_after_launch = std::move(check); }

void note_failure(const std::string& what) {
  if (launch_now.failure.empty()) launch_now.failure = what;
}

void stop_kernel(const char* message) {
  note_failure(message);
  for (;;) launch_now.running->fibre.leave();
}

void run(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const std::lock_guard<std::mutex> lock(launching);
  prepare(name, grid, block, shared_bytes);
  const std::function<void()> work = [&] {
    try {
      thread();
    } catch (const std::exception& error) {
      note_failure(error.what());
    }
    launch_now.running->state = State::kDone;
  };
  const CatchFaults faults;
  try {
    for (const unsigned number : shuffled(0, grid.x * grid.y * grid.z)) run_block(number, shared_bytes, work);
    const std::string wrong = check_after_launch();
    if (!wrong.empty()) fail(wrong);
  } catch (...) {
    for (auto& each : pool) each->fibre.abandon();
    throw;
  }
}

}  // namespace bevkd::emulation

// For ctypes: another seed, another order of blocks, warps and lanes.
extern "C" __attribute__((visibility("default"))) void bevkd_emulation_seed(unsigned seed) {
  bevkd::emulation::shuffler.seed(seed);
}
