// CUDA devices of this machine, from the CUDA runtime.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fastbrain {

struct Device {
  std::string name;
  int major, minor, multiprocessors;
  std::int64_t memory;  // bytes
};

// The devices, or none and the reason given by the runtime.
std::vector<Device> cuda_devices(std::string& reason);

}  // namespace fastbrain
