// Ways that were chosen for the shapes of adapted layers: looking one up in a Python dictionary
// would take a noticeable part of the time of a narrow layer.
#pragma once

#include <cstdint>

namespace fastbrain {

// Everything that a choice depends on, except for FASTBRAIN_MEASURE.
struct LoraShape {
  std::int64_t bfloat16, rows, d_out, d_in, threads;

  bool operator==(const LoraShape&) const = default;
};

enum class LoraWay { kUnknown, kStream, kProducts };

// What was chosen under another value of FASTBRAIN_MEASURE is unknown, and so is everything while
// another thread looks up or remembers.
LoraWay known_way(const LoraShape& shape);
void remember_way(const LoraShape& shape, LoraWay way);
void forget_ways();

}  // namespace fastbrain
