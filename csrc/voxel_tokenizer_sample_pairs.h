// Patches and gradients as pairs of samples, for gradients of a bfloat16 weight. Included after
// tile.h and voxel_tokenizer_patches.h, inside the namespace of an instruction set.

struct GradientSource {
  const VoxelSource& source;
  Pack<Bfloat16> pack;
  const Bfloat16* grad;  // (samples, features)
  int64_t features, samples;
};

static inline void interleave(__m256i low, __m256i high, Number* to) {
  const __m512i shifted = _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
  const __m512i both = _mm512_or_si512(_mm512_cvtepu16_epi32(low), shifted);
  __builtin_memcpy(to, &both, sizeof(both));
}

// Numbers of a cache line.
constexpr int64_t kLine = 32;

// Packs rows [first, last) of the next samples, at most kMost, that have brain there, two in one
// row of kStep numbers; an incomplete pair ends with zeros. `from` are the rows of their gradients;
// `sample` goes on behind the last one. Returns how many there are.
template <int64_t kMost, int64_t kStep>
int32_t pack_pairs(const GradientSource& g, int64_t first, int64_t last, int64_t& sample,
                   Number* patches, const Bfloat16** from) {
  const VoxelSource& s = g.source;
  const int64_t width = ceil_div((last - first) * s.width, kColumns) * kColumns;
  Bfloat16 rows[2][kStep] = {};
  int32_t count = 0;
  const auto write_pair = [&](const Bfloat16* second) {
    Number* to = patches + (count - 1) / 2 * kStep;
    for (int64_t k = 0; k < width; k += kLanes) {
      __m256i low, high = {};
      __builtin_memcpy(&low, rows[0] + k, sizeof(low));
      if (second != nullptr) __builtin_memcpy(&high, second + k, sizeof(high));
      interleave(low, high, to + k);
    }
  };
  for (; sample < g.samples && count < kMost; ++sample) {
    const int64_t window = sample / s.tokens, token = sample % s.tokens;
    if (!touches(s, token, first, last)) continue;
    const Bfloat16* row = g.grad + sample * g.features;
    // read soon, but a few features of many samples at a time
    for (int64_t k = 0; k < g.features; k += kLine) __builtin_prefetch(row + k, 0, 2);
    g.pack(s, window, token, first, last, rows[count % 2]);
    from[count++] = row;
    if (count % 2 == 0) write_pair(rows[1]);
  }
  if (count % 2 != 0) write_pair(nullptr);
  return count;
}

// The gradients of `count` samples and `columns` features from `feature` on: (pairs, kLanes).
static inline void pair_gradients(const Bfloat16* const* from, int32_t count, int64_t feature,
                                  int64_t columns, Number* to) {
  const __mmask16 kept = static_cast<__mmask16>((1u << columns) - 1);
  for (int32_t i = 0; i < count; i += 2) {
    const __m256i low = _mm256_maskz_loadu_epi16(kept, from[i] + feature);
    const __m256i high =
        i + 1 < count ? _mm256_maskz_loadu_epi16(kept, from[i + 1] + feature) : __m256i{};
    interleave(low, high, to + i / 2 * kLanes);
  }
}
