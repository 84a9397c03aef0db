// Neighbourhood clustering on a GPU for pools and batches so small that the latency of launches
// decides: value and gradients in one cooperative launch, in which all blocks wait for each other
// two or three times. The scores stay in the L2 cache, so the memory is read once for them and once
// for the gradients. Sums have a fixed order. kernels/neighborhood.py has the kernels for
// throughput.
#include "neighborhood_grads.cuh"

namespace fastbrain {
namespace {

template <typename E>
__host__ __device__ bool starts_aligned(const void* rows, std::int64_t step) {
  return reinterpret_cast<std::uintptr_t>(rows) % 16 == 0 && step * sizeof(E) % 16 == 0;
}

template <typename Math>
__global__ void __launch_bounds__(kThreads, 1) clustering(ClusteringLaunch p) {
  using Feature = typename Math::Feature;
  using Memory = typename Math::Memory;
  FASTBRAIN_SHARED(unsigned char, bytes);
  Shared& shared = *reinterpret_cast<Shared*>(bytes);
  unsigned char* room = bytes + sizeof(Shared);
  const Layout l(p, Math::kTile, Math::kDepth);
  const bool aligned =
      starts_aligned<Memory>(p.memory, p.step) && starts_aligned<Feature>(p.features, p.width) &&
      starts_aligned<Feature>(p.prototypes, p.width) && p.width * sizeof(Memory) % 16 == 0;
  for (int i = threadIdx.x; i < p.batch; i += kThreads) {
    shared.own[i] = static_cast<int>(p.indices[i]);
  }
  sweep<Math>(p, l, shared, room, aligned);
  grid_sync();
  merge<false>(p, l, shared);
  if (p.eps > 0) {
    sweep_again<Math>(p, l, shared);
    grid_sync();
    merge<true>(p, l, shared);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    float sum = 0.0f;
    for (int i = 0; i < p.batch; ++i) sum += shared.entropy[i];
    *p.value = sum / static_cast<float>(p.batch);
  }
  if (p.grads == nullptr) return;
  product<Math>(p, l, shared, room, aligned);
  grid_sync();
  finish<Math>(p, l, shared, reinterpret_cast<float*>(room));
}

template <typename Math>
void start(const ClusteringLaunch& p, cudaStream_t stream) {
  const cudaError_t status =
      launch_together(clustering<Math>, p.blocks, kThreads, Room<Math>::kBytes, stream, p);
  // also clears the error, which would otherwise be that of a later launch
  if (const cudaError_t last = cudaGetLastError(); status != cudaSuccess || last != cudaSuccess) {
    throw std::runtime_error(std::string("neighborhood_clustering: launch failed: ") +
                             cudaGetErrorString(status != cudaSuccess ? status : last));
  }
}

}  // namespace

std::int64_t clustering_scratch(const ClusteringLaunch& p) {
  if (p.tensor_cores) {
    return Layout(p, TensorCores<__half>::kTile, TensorCores<__half>::kDepth).end;
  }
  return Layout(p, Exact<float>::kTile, Exact<float>::kDepth).end;
}

void neighborhood_clustering_cuda(const ClusteringLaunch& p, int type, void* stream) {
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  switch (static_cast<DType>(type)) {
    case DType::kFloat16:
      return p.tensor_cores ? start<TensorCores<__half>>(p, queue) : start<Exact<__half>>(p, queue);
    case DType::kBfloat16:
      return p.tensor_cores ? start<TensorCores<__nv_bfloat16>>(p, queue)
                            : start<Exact<__nv_bfloat16>>(p, queue);
    default:
      return start<Exact<float>>(p, queue);
  }
}

}  // namespace fastbrain
