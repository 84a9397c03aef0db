// Refusals that reach Python as ValueError; the Python layer has checked before, this is the net.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace fastbrain {

inline void check(bool holds, const char* function, const char* contract, std::int64_t got) {
  if (!holds) {
    throw std::invalid_argument(std::string(function) + ": " + contract + ", got " +
                                std::to_string(got) + ".");
  }
}

}  // namespace fastbrain
