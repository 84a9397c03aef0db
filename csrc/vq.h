// Nearest code on the CPU: distance and argmin in one pass, the distances never leave registers.
#pragma once

#include <cstdint>

#include "isa.h"

namespace fastbrain {

enum class VqType { kFloat32, kFloat16, kBfloat16 };

struct VqRows {
  const void* values;  // (count, width)
  VqType type;
  const bool* mask;  // (count); nullptr: every row counts. Rows left out are never read
  std::int64_t count, width;
};

struct VqCodes {
  const float* values;  // (count, width), or (panels, 1 + width, columns) if packed
  bool packed;
  bool euclidean;  // false: the score is the product alone
  std::int64_t count, width;
};

struct Vq {
  std::int64_t columns;  // codes of a panel
  // to (panels, 1 + width, columns): what is subtracted for each code, then its values
  void (*pack)(const VqCodes& codes, float* to, int threads);
  // out (rows) = nearest code, the lowest of equally near ones, -1 for rows left out; false if
  // memory ran out.
  bool (*lookup)(const VqRows& rows, const VqCodes& codes, std::int64_t* out, int threads);
  // counts (codes) and sums (codes, width) of the rows of each code in the order of the rows;
  // index -1 counts for none.
  void (*sums)(const VqRows& rows, const std::int64_t* indices, std::int64_t codes,
               std::int64_t* counts, float* sums, int threads);
};

const Vq& vq(Isa isa);

// One lookup of a few rows on a GPU; addresses are the device's.
struct VqLaunch {
  const void* x;         // (rows, width)
  const void* codebook;  // (codes, width) of the type of x
  const float* weights;  // (codes) half the squared length or, for the cosine, one over the length
  const bool* mask;      // (rows); nullptr: every row counts. Rows left out are never read
  unsigned long long* found;  // (blocks, rows) the best of each share of the codes
  std::int64_t* out;          // (rows)
  std::int64_t codes, width;
  int rows, blocks;
  bool cosine;
};

void vq_lookup_cuda(const VqLaunch& launch, int type, void* stream);

namespace baseline {
extern const Vq vq;
}
namespace avx2 {
extern const Vq vq;
}
namespace avx512 {
extern const Vq vq;
}

}  // namespace fastbrain
