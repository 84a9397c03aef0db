// Helpers of the CUDA sources. The sources also compile as plain C++, against the emulation in
// tests/cuda_host, so that their arithmetic is tested where there is no GPU. For that a kernel is
// launched by FASTBRAIN_LAUNCH, takes dynamic shared memory by FASTBRAIN_SHARED, and uses only
// features that the emulation supports.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "dtype.h"

#ifdef FASTBRAIN_CUDA_EMULATED
#include "cuda_on_host.h"
#else
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <mma.h>

#define FASTBRAIN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)

// the one dynamic array of a kernel, aligned for tiles of tensor cores
#define FASTBRAIN_SHARED(type, name)                            \
  extern __shared__ __align__(32) unsigned char name##_bytes[]; \
  type* name = reinterpret_cast<type*>(name##_bytes)

namespace fastbrain {

// Waits for all blocks of a cooperative launch; what they wrote is visible then.
__device__ __forceinline__ void grid_sync() { cooperative_groups::this_grid().sync(); }

// Copies 16 aligned bytes into shared memory without waiting; zeros, if they are not valid.
__device__ __forceinline__ void copy_16(void* shared, const void* global, bool valid) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
// Makes a group of the copies that this thread has begun since the last one.
__device__ __forceinline__ void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits for this thread's groups, except for the latest kLeft.
template <int kLeft>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// A launch whose blocks all run at once; a CUDA graph can capture it.
template <typename Argument>
cudaError_t launch_together(void (*kernel)(Argument), int blocks, int threads, int shared_bytes,
                            cudaStream_t stream, const Argument& argument) {
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (status != cudaSuccess) return status;
  void* arguments[] = {const_cast<Argument*>(&argument)};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), dim3(blocks),
                                     dim3(threads), arguments, shared_bytes, stream);
}

}  // namespace fastbrain
#endif

namespace fastbrain {

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(std::int16_t value) { return static_cast<float>(value); }

template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// What one load takes; its address must be a multiple of its size.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T values[kWidth];
};

// Sum over the 32 lanes of a warp, the same in every lane.
__device__ __forceinline__ float warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// Throws if the driver rejects a launch.
inline void check_launch(const char* function) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(function) +
                             ": launch failed: " + cudaGetErrorString(status));
  }
}

}  // namespace fastbrain
