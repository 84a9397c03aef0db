// Entropy of each feature's similarities to a memory and to a few other columns, on the CPU. The
// memory is read as a stream: similarities to all of it are held only where they fit a small
// workspace.
#pragma once

#include <cstdint>

#include "isa.h"

namespace fastbrain {

enum class Stored { kFloat32, kFloat16, kBfloat16 };

struct Neighborhood {
  const float* features;  // (batch, width), rows of norm 1
  const void* memory;     // (size, width), rows of norm 1 or 0 (masked), `memory_step` apart
  Stored stored;
  // (batch) row of the memory that is masked for the sample or, if `own` is set, for all
  const std::int64_t* indices;
  const float* others;  // (extras, width) rows of the other columns, norm 1
  std::int64_t own;     // sample i is masked from column own + i of those; -1: from none
  std::int64_t batch, width, size, memory_step, extras;
  float inv_temperature;  // logits are cosines times it, at most this large up to rounding
  float eps;              // inside the logarithm; 0: exact entropy
  float* entropy;         // (1) mean over the batch
  // its derivatives; nullptr: not wanted
  float* grad_features;  // (batch, width)
  float* grad_others;    // (extras, width)
};

// What neighborhood_entropy returns beside the number of a row whose norm is neither 0 nor 1.
constexpr std::int64_t kDone = -1, kNoMemory = -2;

using NeighborhoodEntropy = std::int64_t (*)(const Neighborhood& problem, int threads);

NeighborhoodEntropy neighborhood_entropy(Isa isa);

namespace baseline {
extern const NeighborhoodEntropy neighborhood_entropy;
}
namespace avx2 {
extern const NeighborhoodEntropy neighborhood_entropy;
}
namespace avx512 {
extern const NeighborhoodEntropy neighborhood_entropy;
}

}  // namespace fastbrain
