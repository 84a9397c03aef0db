// Normalised patches as rows of float32, or of bfloat16 rounded from it. Included, as tile.h is, by
// the sources that are compiled once for each instruction set, inside their namespace.

static inline uint64_t row_bits(const VoxelSource& s, int64_t row) {
  return s.width <= kNarrowRow ? static_cast<const uint8_t*>(s.bits)[row]
                               : static_cast<const uint64_t*>(s.bits)[row];
}

// Vectors of one row; GCC needs their sizes as literals.
template <int kWidth>
struct Vectors;

template <>
struct Vectors<4> {
  typedef int16_t Shorts __attribute__((vector_size(8)));
  typedef int32_t Words __attribute__((vector_size(16)));
  typedef float Floats __attribute__((vector_size(16)));
};

template <>
struct Vectors<8> {
  typedef int16_t Shorts __attribute__((vector_size(16)));
  typedef int32_t Words __attribute__((vector_size(32)));
  typedef float Floats __attribute__((vector_size(32)));
};

template <>
struct Vectors<16> {
  typedef int16_t Shorts __attribute__((vector_size(32)));
  typedef int32_t Words __attribute__((vector_size(64)));
  typedef float Floats __attribute__((vector_size(64)));
};

template <int kWidth>
static inline typename Vectors<kWidth>::Floats load_row(const int16_t* values) {
  typename Vectors<kWidth>::Shorts raw;
  __builtin_memcpy(&raw, values, sizeof(raw));
  const auto wide = __builtin_convertvector(raw, typename Vectors<kWidth>::Words);
  return __builtin_convertvector(wide, typename Vectors<kWidth>::Floats);
}

template <int kWidth>
static inline typename Vectors<kWidth>::Floats load_row(const float* values) {
  typename Vectors<kWidth>::Floats raw;
  __builtin_memcpy(&raw, values, sizeof(raw));
  return raw;
}

static inline void write(float* to, float value) { *to = value; }

template <int kWidth>
static inline void write_row(float* to, typename Vectors<kWidth>::Words bits) {
  __builtin_memcpy(to, &bits, sizeof(bits));
}

#if defined(__AVX512BF16__)
// Rounds to nearest, ties to even, as the instruction does.
static inline void write(Bfloat16* to, float value) {
  const auto rounded = _mm_cvtneps_pbh(_mm_set_ss(value));
  __builtin_memcpy(to, &rounded, sizeof(*to));
}

template <int kWidth>
static inline void write_row(Bfloat16* to, typename Vectors<kWidth>::Words bits) {
  if constexpr (kWidth == 16) {
    const auto rounded = _mm512_cvtneps_pbh((__m512)bits);
    __builtin_memcpy(to, &rounded, 32);
  } else if constexpr (kWidth == 8) {
    const auto rounded = _mm256_cvtneps_pbh((__m256)bits);
    __builtin_memcpy(to, &rounded, 16);
  } else {
    const auto rounded = _mm_cvtneps_pbh((__m128)bits);
    __builtin_memcpy(to, &rounded, 8);
  }
}
#endif

// Rows of a known width: voxels outside the brain are removed by a mask and not by a branch, which
// would be mispredicted at the edge of the brain.
template <typename Out, typename T, int kWidth, bool kMean, bool kScaled>
static inline __attribute__((always_inline)) void pack_short_row(const T* values, const float* mean,
                                                                 const float* inv_std, float scale,
                                                                 uint64_t bits, Out* to) {
  using Words = typename Vectors<kWidth>::Words;
  auto value = load_row<kWidth>(values) * scale;
  if (kMean) value -= load_row<kWidth>(mean);
  if (kScaled) value *= load_row<kWidth>(inv_std);
  Words lane;
#pragma GCC unroll 16
  for (int j = 0; j < kWidth; ++j) lane[j] = 1 << j;
  const Words inside = ((Words{} + static_cast<int32_t>(bits)) & lane) != 0;
  const Words kept = reinterpret_cast<Words>(value) & inside;
  write_row<kWidth>(to, kept);
}

template <typename Out, typename T, bool kMean, bool kScaled>
inline void pack_row(const T* values, const float* mean, const float* inv_std, float scale,
                     uint64_t bits, int64_t width, Out* to) {
  for (int64_t j = 0; j < width; ++j) write(to + j, 0.0f);
  for (; bits != 0; bits &= bits - 1) {
    const int j = __builtin_ctzll(bits);
    float value = static_cast<float>(values[j]) * scale;
    if (kMean) value -= mean[j];
    if (kScaled) value *= inv_std[j];
    write(to + j, value);
  }
}

// The bits of rows of 4 or 8 voxels that make up 16.
template <int kWidth>
static inline uint64_t join_bits(const uint8_t* bits) {
  uint64_t joined = 0;
#pragma GCC unroll 4
  for (int i = 0; i < 16 / kWidth; ++i) joined |= uint64_t{bits[i]} << kWidth * i;
  return joined;
}

// Rows that follow each other in memory, as where all is packed: 16 voxels at once. Returns how
// many of the `rows` were packed; `bits` are those of the first one.
template <typename Out, typename T, int kWidth, bool kMean, bool kScaled>
static inline int64_t pack_joined_rows(const T* values, const float* mean, const float* inv_std,
                                       float scale, const uint8_t* bits, int64_t rows, Out* to) {
  constexpr int64_t kJoined = 16 / kWidth;
  int64_t row = 0;
  for (; row + kJoined <= rows; row += kJoined) {
    const int64_t at = row * kWidth;
    pack_short_row<Out, T, 16, kMean, kScaled>(values + at, kMean ? mean + at : nullptr,
                                               kScaled ? inv_std + at : nullptr, scale,
                                               join_bits<kWidth>(bits + row), to + at);
  }
  return row;
}

// tokens from the one that is packed to the one that is prefetched
constexpr int64_t kAhead = 28;

// Rows [first, last) of a patch to consecutive numbers.
template <typename Out, typename T, int kWidth, bool kMean, bool kScaled>
void pack_patch(const VoxelSource& s, int64_t window, int64_t token, int64_t first, int64_t last,
                Out* to) {
  const int64_t width = kWidth > 0 ? kWidth : s.width, patch = s.rows * width;
  const int32_t* bases = s.bases + token * s.rows;
  // short rows far apart: the hardware does not prefetch the next one
  const int32_t* ahead = s.bases + smaller(token + kAhead, s.tokens - 1) * s.rows;
  int64_t frame = first / s.rows, row = first % s.rows;
  // where all is packed, every voxel of a patch can be read: several short rows at once
  const bool whole = s.packed && (!kMean || s.mean_packed) && (!kScaled || s.inv_std_packed);
  for (int64_t r = first; r < last; ++r, to += width) {
    const int64_t volume = window * s.frames + frame, inside = token * patch + row * width;
    const T* values =
        static_cast<const T*>(s.volumes) +
        (s.packed ? volume * s.tokens * patch + inside : volume * s.voxels + bases[row]);
    if (s.packed) {
      __builtin_prefetch(values + patch);
    } else if (kWidth == 4) {
      __builtin_prefetch(static_cast<const T*>(s.volumes) + volume * s.voxels + ahead[row]);
    }
    const float* mean = kMean ? s.mean + (s.mean_packed ? inside : bases[row]) : nullptr;
    const float* inv_std = kScaled ? s.inv_std + (s.inv_std_packed ? inside : bases[row]) : nullptr;
    if constexpr (kWidth == 4 || kWidth == 8) {
      const uint8_t* bits = static_cast<const uint8_t*>(s.bits) + token * s.rows + row;
      const int64_t rows = whole ? smaller(last - r, s.rows - row) : 0;
      const int64_t packed = pack_joined_rows<Out, T, kWidth, kMean, kScaled>(
          values, mean, inv_std, s.scale, bits, rows, to);
      if (packed > 0) {
        to += (packed - 1) * width, r += packed - 1;
        if ((row += packed) == s.rows) row = 0, ++frame;
        continue;
      }
    }
    const uint64_t bits = row_bits(s, token * s.rows + row);
    if constexpr (kWidth > 0) {
      // a row that leaves the volume must not be read where it has no brain
      if (whole || (bases[row] >= 0 && bases[row] + width <= s.voxels)) {
        pack_short_row<Out, T, kWidth, kMean, kScaled>(values, mean, inv_std, s.scale, bits, to);
        if (++row == s.rows) row = 0, ++frame;
        continue;
      }
    }
    pack_row<Out, T, kMean, kScaled>(values, mean, inv_std, s.scale, bits, width, to);
    if (++row == s.rows) row = 0, ++frame;
  }
}

template <typename Out>
using Pack = void (*)(const VoxelSource&, int64_t, int64_t, int64_t, int64_t, Out*);

template <typename Out, typename T, int kWidth>
Pack<Out> choose_statistics(const VoxelSource& s) {
  if (s.mean == nullptr) {
    return s.inv_std == nullptr ? pack_patch<Out, T, kWidth, false, false>
                                : pack_patch<Out, T, kWidth, false, true>;
  }
  return s.inv_std == nullptr ? pack_patch<Out, T, kWidth, true, false>
                              : pack_patch<Out, T, kWidth, true, true>;
}

template <typename Out, typename T>
Pack<Out> choose_width(const VoxelSource& s) {
  switch (s.width) {
    case 4:
      return choose_statistics<Out, T, 4>(s);
    case 8:
      return choose_statistics<Out, T, 8>(s);
    case 16:
      return choose_statistics<Out, T, 16>(s);
    default:
      return choose_statistics<Out, T, 0>(s);
  }
}

template <typename Out>
Pack<Out> choose_pack(const VoxelSource& s) {
  return s.is_int16 ? choose_width<Out, int16_t>(s) : choose_width<Out, float>(s);
}

// runs closer than this are joined
constexpr int64_t kGap = 2;

// Where any of `count` samples from `sample` on, counted window by window within a token, has brain
// in rows [first, last) of the inner axis; runs begin and end at multiples of kUnit.
template <int kUnit>
int64_t find_runs(const VoxelSource& s, int64_t sample, int64_t count, int64_t first, int64_t last,
                  Run* runs) {
  const int64_t token_first = sample / s.batch, token_last = (sample + count - 1) / s.batch;
  int64_t found = 0;
  for (int64_t r = first; r < last; ++r) {
    uint64_t bits = 0;
    for (int64_t token = token_first; token <= token_last; ++token) {
      bits |= row_bits(s, token * s.rows + r % s.rows);
      // where units are whole rows, it does not matter which voxels they are
      if (kUnit % s.width == 0 && bits != 0) break;
    }
    if (bits == 0) continue;
    const int64_t begin = ((r - first) * s.width + __builtin_ctzll(bits)) / kUnit * kUnit;
    const int64_t end = ceil_div((r - first) * s.width + 64 - __builtin_clzll(bits), kUnit) * kUnit;
    if (found > 0 && begin - runs[found - 1].first - runs[found - 1].depth < kGap) {
      runs[found - 1].depth = static_cast<int32_t>(end - runs[found - 1].first);
    } else {
      runs[found++] = {static_cast<int32_t>(begin), static_cast<int32_t>(end - begin)};
    }
  }
  return found;
}

static inline bool touches(const VoxelSource& s, int64_t token, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    if (row_bits(s, token * s.rows + r % s.rows) != 0) return true;
  }
  return false;
}
