// Ways that were chosen for the shapes of adapted layers: to find one in a table of Python would
// take a noticeable part of the time of a narrow layer.
#pragma once

#include <cstdint>

namespace fastbrain {

// Everything that a choice depends on, but for FASTBRAIN_MEASURE.
struct LoraShape {
  std::int64_t bfloat16, rows, d_out, d_in, threads;

  bool operator==(const LoraShape&) const = default;
};

enum class LoraWay { kUnknown, kStream, kProducts };

// The caller holds the GIL. What was chosen under another value of FASTBRAIN_MEASURE is unknown.
LoraWay known_way(const LoraShape& shape);
void remember_way(const LoraShape& shape, LoraWay way);
void forget_ways();

}  // namespace fastbrain
