// Entropy of the similarities of each feature to a memory and to a few other columns, on the CPU.
// The memory is streamed: similarities to all of it are stored only if they fit a small workspace.
#pragma once

#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace fastbrain {

// Number is float or double, for any stored type of the memory.
template <typename Number>
struct Neighborhood {
  const Number* features;  // (batch, width), rows of norm 1
  const void* memory;      // (size, width), rows of norm 1 or 0 (masked), `memory_step` apart
  DType stored;
  // (batch) row of the memory that is masked for the sample or, if `own` is set, for all
  const std::int64_t* indices;
  // rows of the other columns, norm 1: (extras, width) or, if `own` is set, (own, width)
  const Number* others;
  // the samples are other columns too, from this one on, and each is masked from itself; -1: not
  std::int64_t own;
  std::int64_t batch, width, size, memory_step, extras;
  Number inv_temperature;  // logits are cosines times it, at most this large up to rounding
  Number eps;              // inside the logarithm; 0: exact entropy
  Number* entropy;         // (1) mean over the batch
  // its derivatives; nullptr: not computed
  Number* grad_features;  // (batch, width)
  Number* grad_others;    // (extras, width)
};

// Return values of neighborhood_entropy; others are the number of a row with a norm not 0 or 1.
constexpr std::int64_t kDone = -1, kNoMemory = -2;

namespace baseline {
std::int64_t neighborhood_entropy(const Neighborhood<float>& problem, int threads);
std::int64_t neighborhood_entropy(const Neighborhood<double>& problem, int threads);
}  // namespace baseline
namespace avx2 {
std::int64_t neighborhood_entropy(const Neighborhood<float>& problem, int threads);
std::int64_t neighborhood_entropy(const Neighborhood<double>& problem, int threads);
}  // namespace avx2
namespace avx512 {
std::int64_t neighborhood_entropy(const Neighborhood<float>& problem, int threads);
std::int64_t neighborhood_entropy(const Neighborhood<double>& problem, int threads);
}  // namespace avx512

}  // namespace fastbrain
