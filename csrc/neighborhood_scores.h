// Entropy of similarities that a matrix product has stored, on the CPU; they become the weights of
// the gradient, which two more products turn into derivatives.
#pragma once

#include <cstdint>

namespace fastbrain {

template <typename Number>
struct Scores {
  // (size + extras, step) logits of the rows of the memory and of the other columns, a sample in
  // each of the first `batch` columns; replaced by their derivatives if those are wanted
  Number* logits;
  std::int64_t step;            // a multiple of kScoreLanes
  const Number* norms;          // (size) of the rows of the memory; 0 masks a row
  const std::int64_t* indices;  // (batch), as in Neighborhood
  std::int64_t own;             // as in Neighborhood
  std::int64_t batch, size, extras;
  Number eps;       // inside the logarithm; 0: exact entropy
  Number* entropy;  // (1) mean over the batch
  bool weights;     // whether derivatives by the logits are wanted, of the sum over the batch
};

// lanes of the widest instruction set
constexpr std::int64_t kScoreLanes = 16;

// Returns as neighborhood_entropy does.
namespace baseline {
std::int64_t neighborhood_weights(const Scores<float>& scores, int threads);
std::int64_t neighborhood_weights(const Scores<double>& scores, int threads);
}  // namespace baseline
namespace avx2 {
std::int64_t neighborhood_weights(const Scores<float>& scores, int threads);
std::int64_t neighborhood_weights(const Scores<double>& scores, int threads);
}  // namespace avx2
namespace avx512 {
std::int64_t neighborhood_weights(const Scores<float>& scores, int threads);
std::int64_t neighborhood_weights(const Scores<double>& scores, int threads);
}  // namespace avx512

}  // namespace fastbrain
