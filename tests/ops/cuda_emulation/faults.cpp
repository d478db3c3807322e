// Faults of a running kernel become exceptions: an address that does not exist, and what the undefined-behaviour
// sanitizer reports.
#include "faults.h"

#include <csignal>
#include <string>

#include "cuda_emulation.h"

namespace bevkd::emulation {
namespace {

constexpr int kSignals[2] = {SIGSEGV, SIGBUS};
struct sigaction outside[2];

// On the fibre's own stack, which is never entered again.
void fault(int) { stop_kernel("an address out of bounds or misaligned"); }

}  // namespace

CatchFaults::CatchFaults() {
  struct sigaction action = {};
  action.sa_handler = fault;
  action.sa_flags = SA_NODEFER;  // the handler is left by a jump
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &action, &outside[i]);
}

CatchFaults::~CatchFaults() {
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &outside[i], nullptr);
}

}  // namespace bevkd::emulation

extern "C" void __ubsan_get_current_report_data(const char** kind, const char** message, const char** file,
                                                unsigned* line, unsigned* column, char** address);
// Called by the sanitizer for each report; it holds a lock, so the kernel goes on and the launch fails afterwards.
extern "C" __attribute__((visibility("default"))) void __ubsan_on_report() {
  const char *kind, *message, *file;
  unsigned line, column;
  char* address;
  __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &address);
  bevkd::emulation::note_failure(std::string(file) + ":" + std::to_string(line) + ": " + message);
}
