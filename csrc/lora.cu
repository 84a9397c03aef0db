// Adapted linear layer for up to 16 rows in one launch. A warp holds the sums of its rows of W for
// every row of x; x passes through shared memory in chunks. Each block computes act(x Aᵀ) anew: A
// is small and stays in the L2 cache, and no block waits for another.
#include "launch.cuh"
#include "lora.h"

namespace fastbrain {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
// floats of x that a block holds at a time
constexpr int kHeld = 8192;

// Adds one row of weights times each row of the chunk of x; a lane takes every 32nd pack.
template <int kRows, int kWidth, typename T>
__device__ __forceinline__ void add_row(const T* row, const float* x, int count,
                                        float (&sums)[kRows]) {
  constexpr int kChunk = kHeld / kRows;
#pragma unroll(kRows == 1 ? 2 : 1)
  for (int k = threadIdx.x % 32 * kWidth; k < count; k += 32 * kWidth) {
    const auto pack = *reinterpret_cast<const Pack<T, kWidth>*>(row + k);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float w = to_float(pack.values[i]);
#pragma unroll
      for (int m = 0; m < kRows; ++m) sums[m] += w * x[m * kChunk + k + i];
    }
  }
}

__device__ __forceinline__ float act(float value, int activation) {
  if (activation == 1) return 0.5f * value * (1.0f + erff(value * 0.70710678118654752f));
  if (activation == 2) return value / (1.0f + expf(-value));
  return activation == 3 ? fmaxf(value, 0.0f) : value;
}

// kRows rows of x at most, kEach rows of W for each warp, kWidth elements in one load.
template <typename T, int kRows, int kEach, int kWidth>
__global__ void __launch_bounds__(kThreads) decode(LoraLaunch p) {
  constexpr int kChunk = kHeld / kRows;
  __shared__ float x[kHeld];
  __shared__ float low[kRows * kHighestLoraRank];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = (blockIdx.x * kWarps + warp) * kEach;
  const T* a = static_cast<const T*>(p.a);
  const T* b = static_cast<const T*>(p.b);
  const T* weight = static_cast<const T*>(p.weight);
  float sums[kEach][kRows] = {};
  for (int i = threadIdx.x; i < kRows * kHighestLoraRank; i += kThreads) low[i] = 0.0f;

  for (int begin = 0; begin < p.d_in; begin += kChunk) {
    const int count = min(kChunk, p.d_in - begin);
    __syncthreads();
    for (int m = 0; m < kRows; ++m) {
      const T* from = static_cast<const T*>(p.x) + static_cast<std::int64_t>(m) * p.d_in + begin;
      for (int k = threadIdx.x; k < count; k += kThreads) {
        x[m * kChunk + k] = m < p.rows ? to_float(from[k]) : 0.0f;
      }
    }
    __syncthreads();
    for (int j = warp; j < p.rank; j += kWarps) {
      float part[kRows] = {};
      add_row<kRows, kWidth>(a + static_cast<std::int64_t>(j) * p.d_in + begin, x, count, part);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        const float total = warp_sum(part[m]);
        if (lane == 0) low[m * kHighestLoraRank + j] += total;
      }
    }
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      // a warp beyond the last row repeats it and does not store
      const int row = min(first + e, p.d_out - 1);
      const T* from = weight + static_cast<std::int64_t>(row) * p.d_in + begin;
      add_row<kRows, kWidth>(from, x, count, sums[e]);
    }
  }
  __syncthreads();

#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int row = min(first + e, p.d_out - 1);
    for (int j = lane; j < p.rank; j += 32) {
      const float up = p.scale * to_float(b[static_cast<std::int64_t>(row) * p.rank + j]);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        sums[e][m] += up * act(low[m * kHighestLoraRank + j], p.activation);
      }
    }
    const float offset = p.bias == nullptr ? 0.0f : to_float(static_cast<const T*>(p.bias)[row]);
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      const float total = warp_sum(sums[e][m]) + offset;
      if (lane == 0 && m < p.rows && first + e < p.d_out) {
        static_cast<T*>(p.out)[static_cast<std::int64_t>(m) * p.d_out + row] = from_float<T>(total);
      }
    }
  }
}

template <typename T, int kRows, int kEach, int kWidth>
void launch(const LoraLaunch& p, cudaStream_t stream) {
  const dim3 grid((p.d_out + kWarps * kEach - 1) / (kWarps * kEach));
  FASTBRAIN_LAUNCH((decode<T, kRows, kEach, kWidth>), grid, dim3(kThreads), 0, stream, p);
  check_launch("lora_decode");
}

template <typename T, int kRows, int kWidth>
void launch(const LoraLaunch& p, cudaStream_t stream) {
  // wide layers: fewer blocks, so that A is read less often; many rows need the registers
  if constexpr (kRows <= 4) {
    if (p.d_out >= 4096) return launch<T, kRows, kRows == 1 ? 4 : 2, kWidth>(p, stream);
  }
  launch<T, kRows, 1, kWidth>(p, stream);
}

bool aligned(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 16 == 0; }

template <typename T>
void launch(const LoraLaunch& p, cudaStream_t stream) {
  constexpr int kWidth = 16 / sizeof(T);
  if (p.d_in % kWidth != 0 || !aligned(p.weight) || !aligned(p.a)) {
    return launch<T, 16, 1, 1>(p, stream);
  }
  if (p.rows == 1) return launch<T, 1, kWidth>(p, stream);
  if (p.rows <= 4) return launch<T, 4, kWidth>(p, stream);
  launch<T, 16, kWidth>(p, stream);
}

}  // namespace

void lora_decode_cuda(const LoraLaunch& p, int type, void* stream) {
  if (p.rows == 0 || p.d_out == 0) return;
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  switch (static_cast<DType>(type)) {
    case DType::kFloat16:
      return launch<__half>(p, queue);
    case DType::kBfloat16:
      return launch<__nv_bfloat16>(p, queue);
    default:
      return launch<float>(p, queue);
  }
}

}  // namespace fastbrain
