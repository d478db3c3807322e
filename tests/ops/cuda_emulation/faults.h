#pragma once

#include <string>

namespace bevkd::emulation {

// While it lives, a segmentation fault stops the running kernel.
class CatchFaults {
 public:
  CatchFaults();
  ~CatchFaults();
};

// The running launch will fail, for the first reason that was noted.
void note_failure(const std::string& what);

}  // namespace bevkd::emulation
