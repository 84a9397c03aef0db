// Neighbourhood clustering in one cooperative launch on a GPU, for pools and batches so small that
// the latency of launches decides.
#pragma once

#include <cstdint>

namespace fastbrain {

constexpr int kMostClusteringSamples = 64;

// Addresses are the device's, rows contiguous. Columns of the scores are the rows of the memory,
// then the prototypes, then, if `eps` is positive, the features themselves.
struct ClusteringLaunch {
  const void* features;         // (batch, width)
  const void* prototypes;       // (classes, width), of the type of the features
  const void* memory;           // (size, width), rows `step` elements apart
  const std::int64_t* indices;  // (batch), the row of the memory of each sample
  float* scratch;               // clustering_scratch(...) numbers
  float* value;                 // ()
  float* grads;                 // (batch + classes, width), or nullptr if they are not wanted
  std::int64_t step;
  int batch, classes, size, width;
  int blocks;         // at most the number of multiprocessors
  bool tensor_cores;  // all three of one half-precision type; otherwise features are float32
  float inv_temperature, eps, tolerance;
};

// How many floats of scratch memory a launch needs.
std::int64_t clustering_scratch(const ClusteringLaunch& launch);

// The type is the DType of the memory; throws std::runtime_error if the driver refuses.
void neighborhood_clustering_cuda(const ClusteringLaunch& launch, int type, void* stream);

}  // namespace fastbrain
