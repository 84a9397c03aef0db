// The register tile of a screened lookup: products of bytes of some rows against panels of codes,
// and the codes that survive. Included after vq_screen_bytes.h by vq_screen.cpp, inside its
// namespace.

constexpr float kHuge = 1e38f;
// survivors of a row: beyond kMany they are thinned out, and where that leaves kTooMany the row is
// left to float32
constexpr int kMany = 64, kTooMany = 48, kRoom = kMany + kColumns;

// State of some rows during the pass over the codes.
struct Tile {
  int32_t start[kRows];  // compensates the shift
  float factor[kRows], margin[kRows], best[kRows], threshold[kRows];
  int32_t count[kRows], open;
  float score[kRows][kRoom];
  int32_t code[kRows][kRoom];
};

int append(Tile& tile, int row, int at, __m512 score, __m512i code) {
  const __mmask16 near = _mm512_cmp_ps_mask(score, _mm512_set1_ps(tile.threshold[row]), _CMP_GE_OQ);
  _mm512_storeu_ps(tile.score[row] + at, _mm512_maskz_compress_ps(near, score));
  _mm512_storeu_si512(tile.code[row] + at, _mm512_maskz_compress_epi32(near, code));
  return at + __builtin_popcount(near);
}

void thin(Tile& tile, int row) {
  const int count = tile.count[row];
  int kept = 0;
  for (int i = 0; i < count; ++i) {
    tile.score[row][kept] = tile.score[row][i];
    tile.code[row][kept] = tile.code[row][i];
    kept += tile.score[row][kept] >= tile.threshold[row];
  }
  tile.count[row] = kept;
}

void give_up(Tile& tile, int row) {
  tile.count[row] = 0;
  tile.threshold[row] = __builtin_inff();
  --tile.open;
}

__attribute__((noinline)) void keep(Tile& tile, int row, __m512 left, __m512 right, int32_t first) {
  const float top = _mm512_reduce_max_ps(_mm512_max_ps(left, right));
  if (top > tile.best[row]) {
    tile.best[row] = top;
    tile.threshold[row] = top - tile.margin[row];
  }
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i code = _mm512_add_epi32(lane, _mm512_set1_epi32(first));
  int count = append(tile, row, tile.count[row], left, code);
  count = append(tile, row, count, right, _mm512_add_epi32(code, _mm512_set1_epi32(kLanes)));
  tile.count[row] = count;
  if (count > kMany) {
    thin(tile, row);
    if (tile.count[row] > kTooMany) give_up(tile, row);
  }
}

typedef int32_t Words __attribute__((vector_size(kLanes * sizeof(int32_t))));

// sum += codes · rows, four products a lane. The intrinsic takes another vector type than that of
// the sums, which makes GCC keep two copies of each on the stack.
static inline __attribute__((always_inline)) void add_products(Words& sum, Words codes,
                                                               Words rows) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(rows));
}

static inline __attribute__((always_inline)) __m512 floats_of(Words sum) {
  return reinterpret_cast<__m512>(__builtin_convertvector(sum, Lanes));
}

// R rows (quads, kLanes) against P panels that lie `step` floats apart; `code` is their first.
template <int R, int P>
static inline __attribute__((always_inline)) void screen(const int32_t* rows, const float* panel,
                                                         int64_t step, int64_t quads, int32_t code,
                                                         Tile& tile) {
  Words sum[R][2 * P];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) sum[i][j] = Words{} + tile.start[i];
  }
  const float* from = panel + kColumns;
  for (int64_t k = 0; k < quads; ++k) {
    Words bytes[2 * P];
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) {
      __builtin_memcpy(&bytes[j], from + k * kColumns + j / 2 * step + j % 2 * kLanes, 64);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Words quad = Words{} + rows[k * kLanes + i];
#pragma GCC unroll 8
      for (int j = 0; j < 2 * P; ++j) add_products(sum[i][j], bytes[j], quad);
    }
  }
  // no call while the sums are in registers: all would be copied to the stack and back
  alignas(64) float scores[2 * P][R][kLanes];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    const __m512 half0 = _mm512_loadu_ps(panel + p * step);
    const __m512 half1 = _mm512_loadu_ps(panel + p * step + kLanes);
    uint32_t hits = 0;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const __m512 factor = _mm512_set1_ps(tile.factor[i]);
      const __m512 left = _mm512_fmadd_ps(floats_of(sum[i][2 * p]), factor, half0);
      const __m512 right = _mm512_fmadd_ps(floats_of(sum[i][2 * p + 1]), factor, half1);
      const __m512 threshold = _mm512_set1_ps(tile.threshold[i]);
      const __mmask16 near = _mm512_cmp_ps_mask(_mm512_max_ps(left, right), threshold, _CMP_GE_OQ);
      hits |= static_cast<uint32_t>(near != 0) << i;
      _mm512_store_ps(scores[2 * p][i], left);
      _mm512_store_ps(scores[2 * p + 1][i], right);
    }
    for (; hits != 0; hits &= hits - 1) {
      const int i = __builtin_ctz(hits);
      keep(tile, i, _mm512_load_ps(scores[2 * p][i]), _mm512_load_ps(scores[2 * p + 1][i]),
           code + p * kColumns);
    }
  }
}

// panels that few rows take at once: fewer sums than that would wait for each other
constexpr int64_t kChunk = 4;

using Scan = void (*)(const int32_t* rows, const float* panel, int64_t step, int64_t quads,
                      int32_t code, int64_t panels, Tile& tile);

template <int R>
void scan(const int32_t* rows, const float* panel, int64_t step, int64_t quads, int32_t code,
          int64_t panels, Tile& tile) {
  constexpr int kAtOnce = R == 1 ? kChunk : R < 4 ? 2 : 1;
  int64_t p = 0;
  for (; p + kAtOnce <= panels; p += kAtOnce) {
    screen<R, kAtOnce>(rows, panel + p * step, step, quads, code + p * kColumns, tile);
  }
  for (; p < panels; ++p) {
    screen<R, 1>(rows, panel + p * step, step, quads, code + p * kColumns, tile);
  }
}

Scan scan_of(int64_t rows) {
  static const Scan scans[] = {scan<1>, scan<2>, scan<3>,  scan<4>,  scan<5>,  scan<6>,  scan<7>,
                               scan<8>, scan<9>, scan<10>, scan<11>, scan<12>, scan<13>, scan<14>};
  static_assert(sizeof(scans) == kRows * sizeof(Scan));
  return scans[rows - 1];
}
