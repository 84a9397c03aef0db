// Voxel tokenizer on a GPU for one volume or a few, where latency decides: small tiles so that all
// multiprocessors have one, and the next stretch of the inner axis is read while this one is
// multiplied. kernels/voxel_tokenizer.py is the kernel for throughput.
#include "launch.cuh"
#include "voxel_tokenizer.h"

namespace fastbrain {
namespace {

constexpr int kThreads = 256, kTokens = 32, kFeatures = 64, kInner = 64;
// rows of a tile start in different banks and stay aligned for 16-byte stores
constexpr int kPad = 8, kStep = kInner + kPad;
// a thread reads one column of the tiles, every kRows-th row of it
constexpr int kRows = kThreads / kInner, kLeft = kTokens / kRows, kRight = kFeatures / kRows;

// One normalised voxel, element `inside_patch` of a frame; 0 outside the mask.
template <typename V>
__device__ __forceinline__ float voxel(const VoxelLaunch& p, int sample, int frame,
                                       int inside_patch) {
  const int window = sample / p.tokens, token = sample % p.tokens;
  const int inside = token * p.patch + inside_patch;
  const int offset = p.offsets[inside];
  if (offset < 0) return 0.0f;
  const std::int64_t volume = static_cast<std::int64_t>(window) * p.frames + frame;
  const V stored =
      static_cast<const V*>(p.volumes)[volume * p.voxels + (p.packed ? inside : offset)];
  float value = to_float(stored) * p.scale;
  if (p.mean != nullptr) value -= p.mean[p.mean_packed ? inside : offset];
  if (p.inv_std != nullptr) value *= p.inv_std[p.inv_std_packed ? inside : offset];
  return value;
}

// A product of tiles on tensor cores: eight warps, each 16 tokens times 16 features.
template <typename W>
struct TensorCores {
  using Sum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;
  Sum sum;

  __device__ TensorCores() { nvcuda::wmma::fill_fragment(sum, 0.0f); }

  __device__ void add(const W* left, const W* right) {
    using namespace nvcuda::wmma;
    const int warp = threadIdx.x / 32, row = warp / 4 * 16, column = warp % 4 * 16;
    for (int k = 0; k < kInner; k += 16) {
      fragment<matrix_a, 16, 16, 16, W, row_major> a;
      fragment<matrix_b, 16, 16, 16, W, col_major> b;
      load_matrix_sync(a, left + row * kStep + k, kStep);
      load_matrix_sync(b, right + column * kStep + k, kStep);
      mma_sync(sum, a, b, sum);
    }
  }

  __device__ void store(float* to) {
    const int warp = threadIdx.x / 32, row = warp / 4 * 16, column = warp % 4 * 16;
    nvcuda::wmma::store_matrix_sync(to + row * kFeatures + column, sum, kFeatures,
                                    nvcuda::wmma::mem_row_major);
  }
};

// The same in float32, which tensor cores would round: each thread 2 tokens times 4 features.
struct Exact {
  float sums[2][4] = {};

  // each stretch is summed on its own: rounding then grows with its length, not with the patch
  __device__ void add(const float* left, const float* right) {
    const int row = threadIdx.x / 16 * 2, column = threadIdx.x % 16;
    float part[2][4] = {};
    for (int k = 0; k < kInner; ++k) {
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 4; ++j) {
          part[i][j] += left[(row + i) * kStep + k] * right[(column + 16 * j) * kStep + k];
        }
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 4; ++j) sums[i][j] += part[i][j];
    }
  }

  __device__ void store(float* to) {
    const int row = threadIdx.x / 16 * 2, column = threadIdx.x % 16;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 4; ++j) to[(row + i) * kFeatures + column + 16 * j] = sums[i][j];
    }
  }
};

template <typename W>
struct Product {
  using Type = TensorCores<W>;
};
template <>
struct Product<float> {
  using Type = Exact;
};

template <typename V, typename W>
__global__ void __launch_bounds__(kThreads, 2) tokenize(VoxelLaunch p) {
  __shared__ W left[kTokens * kStep], right[kFeatures * kStep];
  __shared__ float tile[kTokens * kFeatures];
  const int sample = blockIdx.x * kTokens, feature = blockIdx.y * kFeatures;
  const int depth = p.frames * p.patch;
  W next_left[kLeft], next_right[kRight];

  // neighbouring threads read neighbouring elements of a row
  const int row = threadIdx.x / kInner, column = threadIdx.x % kInner;
  const auto read = [&](int first) {
    const int k = first + column, frame = k / p.patch, inside_patch = k % p.patch;
#pragma unroll
    for (int i = 0; i < kLeft; ++i) {
      const int s = sample + i * kRows + row;
      const bool valid = s < p.batch * p.tokens && k < depth;
      next_left[i] = from_float<W>(valid ? voxel<V>(p, s, frame, inside_patch) : 0.0f);
    }
#pragma unroll
    for (int i = 0; i < kRight; ++i) {
      const int f = feature + i * kRows + row;
      const W* from = static_cast<const W*>(p.weight) + static_cast<std::int64_t>(f) * depth + k;
      next_right[i] = f < p.features && k < depth ? *from : from_float<W>(0.0f);
    }
  };

  typename Product<W>::Type product;
  read(0);
  for (int first = 0; first < depth; first += kInner) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kLeft; ++i) left[(i * kRows + row) * kStep + column] = next_left[i];
#pragma unroll
    for (int i = 0; i < kRight; ++i) right[(i * kRows + row) * kStep + column] = next_right[i];
    __syncthreads();
    if (first + kInner < depth) read(first + kInner);
    product.add(left, right);
  }
  product.store(tile);
  __syncthreads();
  for (int e = threadIdx.x; e < kTokens * kFeatures; e += kThreads) {
    const int s = sample + e / kFeatures, f = feature + e % kFeatures;
    if (s >= p.batch * p.tokens || f >= p.features) continue;
    float value = tile[e];
    if (p.bias != nullptr) value += to_float(static_cast<const W*>(p.bias)[f]);
    static_cast<W*>(p.out)[static_cast<std::int64_t>(s) * p.features + f] = from_float<W>(value);
  }
}

template <typename V>
void launch(const VoxelLaunch& p, DType weight, cudaStream_t stream) {
  const dim3 grid((p.batch * p.tokens + kTokens - 1) / kTokens,
                  (p.features + kFeatures - 1) / kFeatures);
  switch (weight) {
    case DType::kFloat16:
      FASTBRAIN_LAUNCH((tokenize<V, __half>), grid, dim3(kThreads), 0, stream, p);
      break;
    case DType::kBfloat16:
      FASTBRAIN_LAUNCH((tokenize<V, __nv_bfloat16>), grid, dim3(kThreads), 0, stream, p);
      break;
    default:
      FASTBRAIN_LAUNCH((tokenize<V, float>), grid, dim3(kThreads), 0, stream, p);
  }
  check_launch("voxel_tokenizer");
}

}  // namespace

void voxel_tokenizer_cuda(const VoxelLaunch& p, int volume_type, int weight_type, void* stream) {
  if (p.batch == 0 || p.features == 0) return;
  const DType weight = static_cast<DType>(weight_type);
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  switch (static_cast<DType>(volume_type)) {
    case DType::kInt16:
      return launch<std::int16_t>(p, weight, queue);
    case DType::kFloat16:
      return launch<__half>(p, weight, queue);
    case DType::kBfloat16:
      return launch<__nv_bfloat16>(p, weight, queue);
    default:
      return launch<float>(p, weight, queue);
  }
}

}  // namespace fastbrain
