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

// The sum of each of kLanes vectors, one a lane: neighbours are added, then neighbours of those.
static inline __attribute__((always_inline)) Lanes sums_of(Lanes (&part)[kLanes]) {
  Integers even, odd;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    even[i] = 2 * i;  // beyond kLanes: of the second vector
    odd[i] = 2 * i + 1;
  }
#pragma GCC unroll 4
  for (int left = kLanes; left > 1; left /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < left / 2; ++i) {
      part[i] = __builtin_shuffle(part[2 * i], part[2 * i + 1], even) +
                __builtin_shuffle(part[2 * i], part[2 * i + 1], odd);
    }
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
