// A stack that can be left and entered again, within one thread of the system.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <functional>
#include <memory>

namespace bevkd::emulation {

// swapcontext saves signal masks with a system call, so a context only starts a fibre and _setjmp switches it.
class Fibre {
 public:
  // Runs `work`, or what is left of it, until it leaves or ends.
  __attribute__((noinline)) void enter(const std::function<void()>& work) {
    work_ = &work;
    if (_setjmp(outside_) != 0) return;
    if (started_) _longjmp(inside_, 1);
    started_ = true;
    if (!stack_) stack_.reset(new char[kStack]);
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
    if (_setjmp(inside_) == 0) _longjmp(outside_, 1);
  }

  // Forgets a piece of work that was left in the middle.
  void abandon() { started_ = false; }

 private:
  static constexpr size_t kStack = 256 * 1024;

  static void main(unsigned high, unsigned low) {
    auto* self = reinterpret_cast<Fibre*>((static_cast<uintptr_t>(high) << 32) | low);
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
};

}  // namespace bevkd::emulation
