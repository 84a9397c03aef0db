// CUDA on the host, for tests: every thread of a block is a fiber, blocks run one after another;
// those of a cooperative launch run by turns, and have no static shared memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// blocks run one after another, so a static array is the block's own
#define __shared__ static
#define __align__(n) alignas(n)

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};

struct __half {
  _Float16 value;
};
struct __nv_bfloat16 {
  std::uint16_t bits;
};
inline float __half2float(__half h) { return static_cast<float>(h.value); }
inline __half __float2half_rn(float f) { return {static_cast<_Float16>(f)}; }
inline float __bfloat162float(__nv_bfloat16 b) {
  const std::uint32_t bits = std::uint32_t{b.bits} << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  std::uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (f != f) return {static_cast<std::uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline unsigned __float_as_uint(float f) {
  unsigned bits;
  std::memcpy(&bits, &f, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
template <typename T>
T __ldg(const T* p) {
  return *p;
}
template <typename T>
T atomicAdd(T* p, T value) {
  const T old = *p;
  *p += value;
  return old;
}
template <typename T>
T atomicMin(T* p, T value) {
  const T old = *p;
  if (value < old) *p = value;
  return old;
}
template <typename T>
T atomicMax(T* p, T value) {
  const T old = *p;
  if (value > old) *p = value;
  return old;
}
inline void __threadfence() {}
template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
enum { cudaFuncAttributeMaxDynamicSharedMemorySize };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, int, int) {
  return cudaSuccess;
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int with) {
  return cuda_on_host::shuffle(value, (cuda_on_host::block->current % 32) ^ with);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned by) {
  const int lane = cuda_on_host::block->current % 32;
  return cuda_on_host::shuffle(value, lane + static_cast<int>(by) < 32 ? lane + by : lane);
}
template <typename T>
T __shfl_sync(unsigned, T value, int from) {
  return cuda_on_host::shuffle(value, from);
}

// it needs the types above
#include "wmma_on_host.h"

namespace fastbrain {

inline void grid_sync() { cuda_on_host::wait_for_grid(); }

inline void copy_16(void* shared, const void* global, bool valid) {
  using cuda_on_host::block;
  block->fibers[block->current].copies.push_back(
      [=] { valid ? std::memcpy(shared, global, 16) : std::memset(shared, 0, 16); });
}
inline void close_copies() {
  auto& fiber = cuda_on_host::block->fibers[cuda_on_host::block->current];
  fiber.groups.push_back(std::move(fiber.copies));
  fiber.copies.clear();
}
template <int kLeft>
void wait_for_copies() {
  cuda_on_host::wait_for_copies(kLeft);
}

template <typename Argument>
cudaError_t launch_together(void (*kernel)(Argument), int blocks, int threads, int shared_bytes,
                            cudaStream_t, const Argument& argument) {
  cuda_on_host::launch_together(kernel, blocks, threads, shared_bytes, argument);
  return cudaSuccess;
}

}  // namespace fastbrain

#define FASTBRAIN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ((void)(stream), cuda_on_host::launch(kernel, grid, block, shared_bytes, __VA_ARGS__))
#define FASTBRAIN_SHARED(type, name) type* name = static_cast<type*>(cuda_on_host::shared())
