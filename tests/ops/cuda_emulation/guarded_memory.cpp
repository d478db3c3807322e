// Tensors of the emulation: new memory is NaN (-1 as integers), and a fence on either side is looked at after every
// launch, so that a kernel which writes out of bounds is named.
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "cuda_emulation.h"

namespace bevkd::emulation {
namespace {

constexpr size_t kFence = 64;  // also keeps torch's alignment
constexpr char kPoison = '\xff';

class GuardedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const size_t whole = (bytes + 2 * kFence + 63) / 64 * 64;
    char* const block = static_cast<char*>(std::aligned_alloc(64, whole));
    if (block == nullptr) throw std::bad_alloc();
    std::memset(block, kPoison, whole);
    const std::lock_guard<std::mutex> lock(mutex_);
    bytes_[block] = bytes;
    void* const data = block + kFence;
    return {data, data, &release, c10::Device(c10::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  // What is wrong, or nothing. A broken fence is mended, so that only one launch is blamed.
  std::string broken_fence() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [block, bytes] : bytes_) {
      char* const ends[2] = {block, block + kFence + bytes};
      for (char* const fence : ends) {
        if (std::all_of(fence, fence + kFence, [](char byte) { return byte == kPoison; })) continue;
        std::fill_n(fence, kFence, kPoison);
        return std::string("wrote ") + (fence == block ? "before" : "past the end of") + " a tensor of " +
               std::to_string(bytes) + " bytes";
      }
    }
    return "";
  }

 private:
  static void release(void* data);

  std::mutex mutex_;
  std::unordered_map<char*, size_t> bytes_;
};

GuardedAllocator& guarded() {
  static GuardedAllocator* const allocator = new GuardedAllocator;  // tensors may outlive static objects
  return *allocator;
}

void GuardedAllocator::release(void* data) {
  char* const block = static_cast<char*>(data) - kFence;
  const std::lock_guard<std::mutex> lock(guarded().mutex_);
  guarded().bytes_.erase(block);
  std::free(block);
}

}  // namespace
}  // namespace bevkd::emulation

// For ctypes: from now on the CPU tensors of this process are guarded.
extern "C" __attribute__((visibility("default"))) void bevkd_emulation_guard_memory() {
  c10::SetCPUAllocator(&bevkd::emulation::guarded(), 1);
  bevkd::emulation::set_check_after_launch([] { return bevkd::emulation::guarded().broken_fence(); });
}
