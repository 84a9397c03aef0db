// Entropy of similarities that a matrix product has stored, on the CPU; they become the weights of
// the gradient, which two more products turn into derivatives.
#pragma once

#include <cstdint>

#include "dtype.h"

namespace fastbrain {

template <typename Number>
struct Scores {
  // Similarities to the rows of the memory and to the other columns, replaced by the derivatives of
  // the logits if those are wanted. With block 0, logits (size + extras, step) as Number, a sample
  // in each of the first `batch` columns. Otherwise cosines in bfloat16: of each `block` rows of
  // the memory (the last may have fewer) a matrix (batch, rows), then one (batch, extras).
  void* scores;
  std::int64_t block;           // a multiple of kScoreRows
  std::int64_t step;            // a multiple of kScoreLanes
  Number factor;                // logits are cosines times it
  const Number* norms;          // (size) of the rows of the memory; 0 masks a row
  const std::int64_t* indices;  // (batch), as in Neighborhood
  std::int64_t own;             // as in Neighborhood
  std::int64_t batch, size, extras;
  Number eps;       // inside the logarithm; 0: exact entropy
  Number* entropy;  // (1) mean over the batch
  bool weights;     // whether derivatives by the logits are wanted, of the sum over the batch
};

// Rows of the memory in any stored type.
template <typename Number>
struct Rows {
  const void* values;  // (size, width), `step` apart
  DType stored;
  std::int64_t size, width, step;
  Number* norms;  // (size)
};

// lanes of the widest instruction set; rows that one task sums
constexpr std::int64_t kScoreLanes = 16, kScoreRows = 512;

// neighborhood_weights returns as neighborhood_entropy does.
namespace baseline {
std::int64_t neighborhood_weights(const Scores<float>& scores, int threads);
std::int64_t neighborhood_weights(const Scores<double>& scores, int threads);
void neighborhood_norms(const Rows<float>& rows, int threads);
void neighborhood_norms(const Rows<double>& rows, int threads);
}  // namespace baseline
namespace avx2 {
std::int64_t neighborhood_weights(const Scores<float>& scores, int threads);
std::int64_t neighborhood_weights(const Scores<double>& scores, int threads);
void neighborhood_norms(const Rows<float>& rows, int threads);
void neighborhood_norms(const Rows<double>& rows, int threads);
}  // namespace avx2
namespace avx512 {
std::int64_t neighborhood_weights(const Scores<float>& scores, int threads);
std::int64_t neighborhood_weights(const Scores<double>& scores, int threads);
void neighborhood_norms(const Rows<float>& rows, int threads);
void neighborhood_norms(const Rows<double>& rows, int threads);
}  // namespace avx512

}  // namespace fastbrain
