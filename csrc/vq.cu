// Nearest code on a GPU for a few rows, where latency decides: the codes are split over all
// multiprocessors and read once for every eight rows, in float32 throughout. kernels/vq.py is the
// kernel for throughput.
#include "launch.cuh"
#include "vq.h"

namespace fastbrain {
namespace {

constexpr int kWarps = 8, kRows = 8, kCodes = 4;
static_assert(kRows * kCodes == 32, "a lane keeps the score of one row and one code");

using Key = unsigned long long;

// Ordered as the scores are; of equal scores the lower code has the larger key. 0 is below all, and
// that of a NaN: no code is nearest to it.
__device__ __forceinline__ Key key_of(float score, std::int64_t code) {
  if (score != score) return 0;
  // minus zero becomes zero
  const unsigned bits = __float_as_uint(score + 0.0f);
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<Key>(ordered) << 32 | (0xffffffffu - static_cast<unsigned>(code));
}

__device__ __forceinline__ bool counts(const VqLaunch& p, int row) {
  return row < p.rows && (p.mask == nullptr || p.mask[row]);
}

// Sum i over the lanes, to lane i. Halves are exchanged, so that every sum is the same tree.
__device__ __forceinline__ float sum_of_lane(float (&sums)[32]) {
  const int lane = threadIdx.x % 32;
  // bounds that nvcc knows when it unrolls: with `i < step` the array would lie in local memory
#pragma unroll
  for (int bit = 4; bit >= 0; --bit) {
    const int step = 1 << bit;
    const bool upper = lane & step;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      if (i >= step) continue;
      const float given = upper ? sums[i] : sums[i + step];
      const float kept = upper ? sums[i + step] : sums[i];
      sums[i] = kept + __shfl_xor_sync(0xffffffffu, given, step);
    }
  }
  return sums[0];
}

// kWidth elements in one load.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kWarps * 32) score(VqLaunch p) {
  using Part = Pack<T, kWidth>;
  __shared__ Key found[kWarps][kRows];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const T* rows[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = blockIdx.y * kRows + i;
    rows[i] = counts(p, row) ? static_cast<const T*>(p.x) + row * p.width : nullptr;
  }
  Key best = 0;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kWarps * kCodes;
  std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kWarps + warp) * kCodes;
  for (; first < p.codes; first += step) {
    float sums[32] = {};
    for (std::int64_t k = lane * kWidth; k < p.width; k += 32 * kWidth) {
      // all codes are asked for before the first is used: their latency is waited for once
      Part codes[kCodes];
#pragma unroll
      for (int c = 0; c < kCodes; ++c) {
        // codes beyond the last repeat it; their scores are not used
        const std::int64_t code = min(first + c, p.codes - 1);
        const T* from = static_cast<const T*>(p.codebook) + code * p.width + k;
        codes[c] = *reinterpret_cast<const Part*>(from);
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (rows[i] == nullptr) continue;
        const Part values = *reinterpret_cast<const Part*>(rows[i] + k);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          const float value = to_float(values.values[j]);
#pragma unroll
          for (int c = 0; c < kCodes; ++c) {
            sums[c * kRows + i] += value * to_float(codes[c].values[j]);
          }
        }
      }
    }
    const float sum = sum_of_lane(sums);
    const std::int64_t code = first + lane / kRows;
    if (code < p.codes) {
      const float weight = p.weights[code];
      best = max(best, key_of(p.cosine ? sum * weight : sum - weight, code));
    }
  }
  for (int other = kRows; other < 32; other *= 2) {
    best = max(best, __shfl_xor_sync(0xffffffffu, best, other));
  }
  if (lane < kRows) found[warp][lane] = best;
  __syncthreads();
  const int row = blockIdx.y * kRows + threadIdx.x;
  if (threadIdx.x >= kRows || row >= p.rows) return;
  for (int i = 1; i < kWarps; ++i) best = max(best, found[i][threadIdx.x]);
  p.found[static_cast<std::int64_t>(blockIdx.x) * p.rows + row] = best;
}

// One warp for each row.
__global__ void __launch_bounds__(32) choose(VqLaunch p) {
  const int row = blockIdx.x;
  Key best = 0;
  for (int block = threadIdx.x; block < p.blocks; block += 32) {
    best = max(best, p.found[static_cast<std::int64_t>(block) * p.rows + row]);
  }
  for (int other = 16; other > 0; other /= 2) {
    best = max(best, __shfl_xor_sync(0xffffffffu, best, other));
  }
  if (threadIdx.x != 0) return;
  const std::int64_t code = 0xffffffffu - static_cast<unsigned>(best);
  p.out[row] = counts(p, row) && best != 0 ? code : -1;
}

template <typename T>
void launch(const VqLaunch& p, cudaStream_t stream) {
  constexpr int kWidth = 16 / sizeof(T);
  const dim3 grid(p.blocks, (p.rows + kRows - 1) / kRows), block(kWarps * 32);
  const auto at =
      reinterpret_cast<std::uintptr_t>(p.x) | reinterpret_cast<std::uintptr_t>(p.codebook);
  if (p.width % kWidth == 0 && at % 16 == 0) {
    FASTBRAIN_LAUNCH((score<T, kWidth>), grid, block, 0, stream, p);
  } else {
    FASTBRAIN_LAUNCH((score<T, 1>), grid, block, 0, stream, p);
  }
  FASTBRAIN_LAUNCH(choose, dim3(p.rows), dim3(32), 0, stream, p);
  check_launch("vq_lookup");
}

}  // namespace

void vq_lookup_cuda(const VqLaunch& p, int type, void* stream) {
  if (p.rows == 0) return;
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
