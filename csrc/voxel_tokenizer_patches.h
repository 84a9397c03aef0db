// Normalised patches as float32 rows. Included, as tile.h is, by the sources that are compiled once
// for each instruction set, inside their namespace.

static inline uint64_t row_bits(const VoxelSource& s, int64_t row) {
  return s.width <= kNarrowRow ? static_cast<const uint8_t*>(s.bits)[row]
                               : static_cast<const uint64_t*>(s.bits)[row];
}

template <typename T, int kWidth, bool kMean, bool kScaled>
inline void pack_row(const T* values, const float* mean, const float* inv_std, float scale,
                     uint64_t bits, int64_t width, float* to) {
  const int64_t n = kWidth > 0 ? kWidth : width;
  const uint64_t full = n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
  if (bits == full) {
#pragma GCC ivdep
    for (int64_t j = 0; j < n; ++j) {
      float value = static_cast<float>(values[j]) * scale;
      if (kMean) value -= mean[j];
      if (kScaled) value *= inv_std[j];
      to[j] = value;
    }
    return;
  }
  for (int64_t j = 0; j < n; ++j) to[j] = 0.0f;
  for (; bits != 0; bits &= bits - 1) {
    const int j = __builtin_ctzll(bits);
    float value = static_cast<float>(values[j]) * scale;
    if (kMean) value -= mean[j];
    if (kScaled) value *= inv_std[j];
    to[j] = value;
  }
}

constexpr int64_t kAhead = 28;

// Rows [first, last) of a patch to consecutive floats.
template <typename T, int kWidth, bool kMean, bool kScaled>
void pack_patch(const VoxelSource& s, int64_t window, int64_t token, int64_t first, int64_t last,
                float* to) {
  const int64_t width = kWidth > 0 ? kWidth : s.width, patch = s.rows * width;
  const int32_t* bases = s.bases + token * s.rows;
  // short rows that lie far apart: the hardware does not foresee the next one
  const int32_t* ahead = s.bases + smaller(token + kAhead, s.tokens - 1) * s.rows;
  int64_t frame = first / s.rows, row = first % s.rows;
  for (int64_t r = first; r < last; ++r, to += width) {
    const int64_t volume = window * s.frames + frame, inside = token * patch + row * width;
    const T* values =
        static_cast<const T*>(s.volumes) +
        (s.packed ? volume * s.tokens * patch + inside : volume * s.voxels + bases[row]);
    if (kWidth == 4 && !s.packed) {
      __builtin_prefetch(static_cast<const T*>(s.volumes) + volume * s.voxels + ahead[row]);
    }
    const float* mean = kMean ? s.mean + (s.mean_packed ? inside : bases[row]) : nullptr;
    const float* inv_std = kScaled ? s.inv_std + (s.inv_std_packed ? inside : bases[row]) : nullptr;
    pack_row<T, kWidth, kMean, kScaled>(values, mean, inv_std, s.scale,
                                        row_bits(s, token * s.rows + row), width, to);
    if (++row == s.rows) row = 0, ++frame;
  }
}

using Pack = void (*)(const VoxelSource&, int64_t, int64_t, int64_t, int64_t, float*);

template <typename T, int kWidth>
Pack choose_statistics(const VoxelSource& s) {
  if (s.mean == nullptr) {
    return s.inv_std == nullptr ? pack_patch<T, kWidth, false, false>
                                : pack_patch<T, kWidth, false, true>;
  }
  return s.inv_std == nullptr ? pack_patch<T, kWidth, true, false>
                              : pack_patch<T, kWidth, true, true>;
}

template <typename T>
Pack choose_width(const VoxelSource& s) {
  switch (s.width) {
    case 4:
      return choose_statistics<T, 4>(s);
    case 8:
      return choose_statistics<T, 8>(s);
    case 16:
      return choose_statistics<T, 16>(s);
    default:
      return choose_statistics<T, 0>(s);
  }
}

Pack choose_pack(const VoxelSource& s) {
  return s.is_int16 ? choose_width<int16_t>(s) : choose_width<float>(s);
}
