// A stack that can be left and entered again, within one thread of the system.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <functional>
#include <memory>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace bevkd::emulation {

// swapcontext saves signal masks with a system call, so a context only starts a fibre and _setjmp switches it.
class Fibre {
 public:
  // Runs `work`, or what is left of it, until it leaves or ends.
  __attribute__((noinline)) void enter(const std::function<void()>& work) {
    work_ = &work;
    if (!stack_) stack_.reset(new char[kStack]);
    if (_setjmp(outside_) != 0) return outside_view_.arrive();
    outside_view_.depart(stack_.get(), kStack);
    if (started_) _longjmp(inside_, 1);
    started_ = true;
    forget_frames();
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStack;
    context_.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&context_, reinterpret_cast<void (*)()>(&Fibre::main), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
    setcontext(&context_);
  }

  // From inside: back to whoever entered; returns at the next enter().
  __attribute__((noinline)) void leave() {
    if (_setjmp(inside_) == 0) {
      inside_view_.depart(outside_stack_, outside_size_);
      _longjmp(outside_, 1);
    }
    inside_view_.arrive(&outside_stack_, &outside_size_);
  }

  // Forgets a piece of work that was left in the middle.
  void abandon() { started_ = false; }

 private:
  static constexpr size_t kStack = 256 * 1024;

#ifdef __SANITIZE_ADDRESS__
  // The address sanitizer must be told which stack it is on, or it takes locals of one for faults of the other.
  struct View {
    void* frames = nullptr;
    void depart(const void* stack, size_t size) { __sanitizer_start_switch_fiber(&frames, stack, size); }
    void arrive(const void** stack = nullptr, size_t* size = nullptr) {
      __sanitizer_finish_switch_fiber(frames, stack, size);
    }
  };
  // Of work that was left in the middle.
  void forget_frames() { __asan_unpoison_memory_region(stack_.get(), kStack); }
#else
  struct View {
    void depart(const void*, size_t) {}
    void arrive(const void** = nullptr, size_t* = nullptr) {}
  };
  void forget_frames() {}
#endif

  static void main(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<Fibre*>((static_cast<uintptr_t>(high) << 32) | low);
    self->inside_view_.arrive(&self->outside_stack_, &self->outside_size_);
    for (;;) {
      (*self->work_)();
      self->leave();
    }
  }

  jmp_buf inside_, outside_;
  ucontext_t context_;
  bool started_ = false;
  std::unique_ptr<char[]> stack_;
  const std::function<void()>* work_ = nullptr;
  View outside_view_, inside_view_;
  const void* outside_stack_ = nullptr;
  size_t outside_size_ = 0;
};

}  // namespace bevkd::emulation
