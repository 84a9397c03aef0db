#include "device.h"

#include <cuda_runtime.h>

namespace fastbrain {

std::vector<Device> cuda_devices(std::string& reason) {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  std::vector<Device> devices;
  for (int index = 0; status == cudaSuccess && index < count; ++index) {
    cudaDeviceProp properties;
    status = cudaGetDeviceProperties(&properties, index);
    if (status == cudaSuccess) {
      devices.push_back({properties.name, properties.major, properties.minor,
                         properties.multiProcessorCount,
                         static_cast<std::int64_t>(properties.totalGlobalMem)});
    }
  }
  if (status != cudaSuccess) {
    reason = cudaGetErrorString(status);
    devices.clear();
  }
  return devices;
}

}  // namespace fastbrain
