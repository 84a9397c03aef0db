// Weights and tokens of bfloat16 as register tiles of pairs read and write them. Included after
// tile.h, inside the namespace of an instruction set with AVX512_BF16.

static inline Number pair(Bfloat16 low, Bfloat16 high) {
  const Bfloat16 both[2] = {low, high};
  Number value;
  __builtin_memcpy(&value, both, sizeof(value));
  return value;
}

// Transposes kColumns features of a block of the weight (features, inner) that begins at `first`
// and is `depth` deep: to (pairs, kColumns), with zeros behind the last feature and the last
// number.
static void pack_panel(const Bfloat16* weight, int64_t features, int64_t inner, int64_t first,
                       int64_t depth, int64_t panel, int64_t pairs, Number* to) {
  const int64_t columns = smaller(kColumns, features - panel * kColumns);
  const Bfloat16* from = weight + panel * kColumns * inner + first;
  int64_t k = 0;
  if (columns == kColumns && inner % 2 == 0) {
    const int64_t step = inner / 2;
    const Number* rows = reinterpret_cast<const Number*>(from);
    for (; 2 * (k + kLanes) <= depth; k += kLanes) {
      transpose_square(rows + k, step, to + k * kColumns, kColumns);
      transpose_square(rows + kLanes * step + k, step, to + k * kColumns + kLanes, kColumns);
    }
  }
  for (; k < pairs; ++k) {
    for (int64_t j = 0; j < kColumns; ++j) {
      const Bfloat16* at = from + j * inner + 2 * k;
      const bool low = j < columns && 2 * k < depth, high = j < columns && 2 * k + 1 < depth;
      to[k * kColumns + j] = pair(low ? at[0] : Bfloat16{0}, high ? at[1] : Bfloat16{0});
    }
  }
}

// Rounds kColumns sums, of which `columns` are stored.
static inline void round_row(const float* from, Bfloat16* to, int64_t columns, bool streams) {
  const auto rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + kLanes), _mm512_loadu_ps(from));
  if (streams) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)rounded);
  } else {
    const __mmask32 kept = static_cast<__mmask32>((uint64_t{1} << columns) - 1);
    _mm512_mask_storeu_epi16(to, kept, (__m512i)rounded);
  }
}
