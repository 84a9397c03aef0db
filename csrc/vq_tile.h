// The register tile of a nearest code: scores of some rows against panels of codes, and the best of
// them for each lane. Included after tile.h by vq.cpp, inside the namespace of an instruction set.

// panels that one row takes at once: fewer sums than that would wait for each other
constexpr int64_t kChunk = 4;

// Result of a tile so far, for each row and lane: the best score and the half panel it is in.
struct Best {
  Lanes score[kRows];
  Integers half[kRows];
};

// Scores R rows (width, kRowStep) against P panels that lie `step` apart.
template <int R, int P>
static inline __attribute__((always_inline)) void score(const Number* rows, const Number* panel,
                                                        int64_t step, int64_t width, int64_t first,
                                                        Best& best) {
  Lanes sum[R][2 * P];
#pragma GCC unroll 8
  for (int j = 0; j < 2 * P; ++j) {
    const Lanes start = load(panel + j / 2 * step + j % 2 * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) sum[i][j] = start;
  }
  const Number* from = panel + kColumns;
  for (int64_t k = 0; k < width; ++k) {
    Lanes code[2 * P];
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) {
      code[j] = load(from + k * kColumns + j / 2 * step + j % 2 * kLanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Number factor = rows[k * kRowStep + i];
#pragma GCC unroll 8
      for (int j = 0; j < 2 * P; ++j) sum[i][j] += factor * code[j];
    }
  }
  // without it, the compiler copies all of `best` to the stack and back for every call
  __asm__ volatile("" ::: "memory");
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    const Integers left = Integers{} + static_cast<Integer>(2 * (first + p)), right = left + 1;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      // only a larger score wins, so the lower of equal codes stays
      const Integers second = sum[i][2 * p + 1] > sum[i][2 * p];
      const Lanes high = second ? sum[i][2 * p + 1] : sum[i][2 * p];
      const Integers better = high > best.score[i];
      best.score[i] = better ? high : best.score[i];
      best.half[i] = better ? (second ? right : left) : best.half[i];
    }
  }
}

using Scan = void (*)(const Number* rows, const Number* panel, int64_t step, int64_t width,
                      int64_t first, int64_t panels, Best& best);

template <int R>
void scan(const Number* rows, const Number* panel, int64_t step, int64_t width, int64_t first,
          int64_t panels, Best& best) {
  constexpr int kAtOnce = R == 1 ? kChunk : R < 4 ? 2 : 1;
  int64_t p = 0;
  for (; p + kAtOnce <= panels; p += kAtOnce) {
    score<R, kAtOnce>(rows, panel + p * step, step, width, first + p, best);
  }
  for (; p < panels; ++p) score<R, 1>(rows, panel + p * step, step, width, first + p, best);
}

Scan scan_of(int64_t rows) {
  static const Scan scans[] = {
      scan<1>, scan<2>, scan<3>, scan<4>,
#if defined(__AVX2__)
      scan<5>, scan<6>,
#endif
#if defined(__AVX512F__)
      scan<7>, scan<8>, scan<9>, scan<10>, scan<11>, scan<12>, scan<13>, scan<14>,
#endif
  };
  static_assert(sizeof(scans) == kRows * sizeof(Scan));
  return scans[rows - 1];
}

// The best of a row over its lanes, the lowest code of equal ones: in log2(kLanes) exchanges.
static inline Found reduce(const Best& best, int64_t row) {
  Integers lane;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  Lanes top = best.score[row];
#pragma GCC unroll 4
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const Lanes other = __builtin_shuffle(top, lane ^ step);
    top = other > top ? other : top;
  }
  Integers code = best.score[row] == top ? best.half[row] * kLanes + lane : Integers{} + INT32_MAX;
#pragma GCC unroll 4
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const Integers other = __builtin_shuffle(code, lane ^ step);
    code = other < code ? other : code;
  }
  return {top[0], static_cast<int32_t>(code[0])};
}
