// Checks that raise ValueError in Python; a second line after the checks of the Python layer.
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
