// Nearest code on the CPU: distance and argmin in one pass, the distances never leave registers.
#pragma once

#include <cstdint>

#include "dtype.h"
#include "isa.h"

namespace fastbrain {

struct VqRows {
  const void* values;  // (all, width)
  DType type;
  const std::int64_t* chosen;  // (count) which rows are meant; nullptr: the first `count`
  std::int64_t count, width;
};

// Codes as the caller holds them.
struct VqSource {
  const void* values;  // (count, width)
  DType type;
  bool euclidean;  // false: each code is taken at length one
  std::int64_t count, width;
};

// Number is float or double: the precision of scores, for any type of the rows.
template <typename Number>
struct VqCodes {
  const Number* values;  // (count, width)
  const Number* panels;  // (panels, 1 + width, columns), or nullptr
  const float* screen;   // result of VqScreen::pack, or nullptr
  bool euclidean;        // false: the score is the product alone
  std::int64_t count, width;
};

template <typename Number>
struct Vq {
  std::int64_t columns;  // codes of a panel
  // to (count, width): codes of any type as VqCodes::values
  void (*read)(const VqSource& codes, Number* to, int threads);
  // to (panels, 1 + width, columns): what is subtracted for each code, then its values
  void (*pack)(const VqCodes<Number>& codes, Number* to, int threads);
  // out (rows) = nearest code, the lowest of equally near ones; false if memory ran out.
  bool (*lookup)(const VqRows& rows, const VqCodes<Number>& codes, std::int64_t* out, int threads);
  // counts (codes) and sums (codes, width) of the rows of each code in the order of the rows;
  // index -1 and rows where the mask is false count for none.
  void (*sums)(const VqRows& rows, const bool* mask, const std::int64_t* indices,
               std::int64_t codes, std::int64_t* counts, Number* sums, int threads);
};

// For codebooks of which no copy is held, in float32.
struct VqPlain {
  // The same as Vq::lookup bit for bit, for a few rows: every code is read once, where it lies.
  // False, with `out` undefined, if a row or a code is not finite or not below 2^power, if all are
  // tiny, if too many codes are near to a row or if memory ran out.
  bool (*lookup)(const VqRows& rows, const VqSource& codes, int power, std::int64_t* out,
                 int threads);
  std::int64_t part;  // bytes that share a word of `parts`
  // A number that tells changed bytes from the unchanged ones; `parts` holds a word for each part.
  std::uint64_t (*digest)(const void* bytes, std::int64_t count, std::uint64_t* parts, int threads);
};

// The same lookup with a screening by bytes: products of 8-bit integers and a bound on their error
// exclude most codes; the few left are scored as in Vq::lookup, so that the result is the same bit
// for bit.
struct VqScreen {
  std::int64_t (*floats)(std::int64_t codes, std::int64_t width);  // length of `screen`
  // false if memory ran out
  bool (*pack)(const VqCodes<float>& codes, float* to, int threads);
  // out = nearest code, or kUndecided where bytes leave too many; false if memory ran out
  bool (*lookup)(const VqRows& rows, const VqCodes<float>& codes, std::int64_t* out, int threads);
};

constexpr std::int64_t kUndecided = -2;

// nullptr where the machine has no products of bytes
const VqScreen* vq_screen(Isa isa);

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

// The type of the argument selects the overload.
namespace baseline {
const Vq<float>& vq(float);
const Vq<double>& vq(double);
extern const VqPlain vq_plain;
}  // namespace baseline
namespace avx2 {
const Vq<float>& vq(float);
const Vq<double>& vq(double);
extern const VqPlain vq_plain;
}  // namespace avx2
namespace avx512 {
const Vq<float>& vq(float);
const Vq<double>& vq(double);
extern const VqPlain vq_plain;
}  // namespace avx512
namespace avx512vnni {
extern const VqScreen vq_screen;
}

}  // namespace fastbrain
