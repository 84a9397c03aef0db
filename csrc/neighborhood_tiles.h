// Products of features and weights with a bfloat16 memory, on CPUs that multiply tiles (AMX).
#pragma once

#include <cstdint>

namespace fastbrain {

// Numbers of bfloat16 are given by their bits.
struct TileMemory {
  const std::uint16_t* memory;  // (size, width), `step` apart
  std::int64_t size, width, step;
};

// The width is a multiple of it.
constexpr std::int64_t kNeighborhoodTile = 32;

struct NeighborhoodTiles {
  // logits (size, step) in float32 = factor · memory · featuresᵀ, and the norms (size) of the rows;
  // features (batch, width), step a multiple of 16 that holds the batch. False if memory ran out.
  bool (*scores)(const TileMemory& memory, const std::uint16_t* features, std::int64_t batch,
                 float factor, float* logits, std::int64_t step, float* norms, int threads);
  // grad (batch, width) in float32 = weightsᵀ · memory; weights (size, step) in float32 are rounded
  // to bfloat16 or, if not `rounds`, taken as the sum of two. False if memory ran out.
  bool (*products)(const TileMemory& memory, const float* weights, std::int64_t batch,
                   std::int64_t step, bool rounds, float* grad, int threads);
};

namespace avx512amx {
extern const NeighborhoodTiles neighborhood_tiles;
}

}  // namespace fastbrain
