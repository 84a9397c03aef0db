// Products of rows and codes that both lie in memory with the inner axis inside. Included after
// tile.h by vq.cpp, inside the namespace of an instruction set.

// Whether any lane is set in the result of a comparison.
static inline bool any(Integers lanes) {
#if defined(__AVX512DQ__)
  return __builtin_ia32_cvtd2mask512(lanes) != 0;
#elif defined(__AVX2__)
  return __builtin_ia32_movmskps256((Lanes)lanes) != 0;
#else
  Integer all = 0;
  for (int i = 0; i < kLanes; ++i) all |= lanes[i];
  return all != 0;
#endif
}

// Neighbours in `part` are added as two shuffles of them say, so that half of them are left.
static inline __attribute__((always_inline)) void add_neighbours(Lanes (&part)[kLanes], int left,
                                                                 Integers even, Integers odd) {
#pragma GCC unroll 8
  for (int i = 0; i < left / 2; ++i) {
    part[i] = __builtin_shuffle(part[2 * i], part[2 * i + 1], even) +
              __builtin_shuffle(part[2 * i], part[2 * i + 1], odd);
  }
}

// The sum of each of kLanes vectors, one a lane. First inside quarters of four lanes, where
// shuffles are cheapest, then between them.
static inline __attribute__((always_inline)) Lanes sums_of(Lanes (&part)[kLanes]) {
  Integers single[2], pair[2], quarter[2];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    const int first = i / 4 * 4, at = i % 4;
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd) {
      // beyond kLanes: of the second vector
      single[odd][i] = first + at / 2 + at % 2 * kLanes + 2 * odd;
      pair[odd][i] = first + at % 2 + at / 2 * kLanes + 2 * odd;
      quarter[odd][i] = 2 * first + at + 4 * odd;
    }
  }
  add_neighbours(part, kLanes, single[0], single[1]);
  add_neighbours(part, kLanes / 2, pair[0], pair[1]);
#pragma GCC unroll 2
  for (int left = kLanes / 4; left > 1; left /= 2) {
    add_neighbours(part, left, quarter[0], quarter[1]);
  }
  return part[0];
}

static inline Lanes squares_of(const float* codes, int64_t step, int64_t depth) {
  Lanes part[kLanes] = {};
  for (int64_t k = 0; k < depth; k += kLanes) {
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) {
      const Lanes code = load(codes + j * step + k);
      part[j] += code * code;
    }
  }
  return sums_of(part);
}

// Products of R rows and kLanes / R codes; lane i * (kLanes / R) + j is that of row i and code j.
template <int R>
static inline Lanes products_of(const float* rows, const float* codes, int64_t step,
                                int64_t depth) {
  constexpr int kCodes = kLanes / R;
  Lanes part[kLanes] = {};
  for (int64_t k = 0; k < depth; k += kLanes) {
    Lanes row[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) row[i] = load(rows + i * depth + k);
#pragma GCC unroll 16
    for (int j = 0; j < kCodes; ++j) {
      const Lanes code = load(codes + j * step + k);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) part[i * kCodes + j] += row[i] * code;
    }
  }
  return sums_of(part);
}

// Squares of kLanes codes and their products with one row, each code read once.
static inline void squares_and_products_of(const float* row, const float* codes, int64_t step,
                                           int64_t depth, Lanes& squares, Lanes& products) {
  constexpr int kHalf = kLanes / 2;
  Lanes sums[2];
  for (int half = 0; half < 2; ++half) {
    const float* from = codes + half * kHalf * step;
    Lanes part[kLanes] = {};
    for (int64_t k = 0; k < depth; k += kLanes) {
      const Lanes value = load(row + k);
#pragma GCC unroll 8
      for (int j = 0; j < kHalf; ++j) {
        const Lanes code = load(from + j * step + k);
        part[j] += code * code;
        part[kHalf + j] += value * code;
      }
    }
    sums[half] = sums_of(part);
  }
  Integers first, second;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    first[i] = i < kHalf ? i : i + kHalf;
    second[i] = first[i] + kHalf;
  }
  squares = __builtin_shuffle(sums[0], sums[1], first);
  products = __builtin_shuffle(sums[0], sums[1], second);
}
