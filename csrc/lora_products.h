// Products of stored weights with grouped inputs, and conversions of single numbers. Included by
// lora.cpp in the namespace of its instruction set, after tile.h and widen.h.

// Products of stored numbers T with inputs X, of so many numbers at once.
template <typename T, typename X>
struct Products {
  static constexpr int kNumbers = kLanes;
  typedef Lanes Value;
  static Lanes weight(const T* from) { return widen(from); }
  static Lanes weight(const T* from, int64_t count) { return widen_some(from, count); }
  static Lanes input(const X* from) { return widen(from); }
  static void add(Lanes& sum, Lanes w, Lanes x) { sum += w * x; }
};

#if defined(__AVX512BF16__)
// The instruction adds the products of a pair to a float32 sum.
template <>
struct Products<uint16_t, uint16_t> {
  static constexpr int kNumbers = 2 * kLanes;
  typedef __m512i Value;
  static Value weight(const uint16_t* from) { return _mm512_loadu_si512(from); }
  static Value weight(const uint16_t* from, int64_t count) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((1u << count) - 1), from);
  }
  static Value input(const uint16_t* from) { return weight(from); }
  static void add(Lanes& sum, Value w, Value x) {
    sum = (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
  }
};
#endif

// bytes between what is multiplied of a row of the weight and what is prefetched of it
constexpr int64_t kAheadBytes = 2048;

// sum[n][r] += products of row n of `w`, `w_step` apart, with row r of the group `x`, over `width`
// numbers. Of a large weight, `ahead` is where the rows after them begin; otherwise it is nullptr.
template <typename T, typename X, int N, int R>
inline __attribute__((always_inline)) void multiply(const T* w, int64_t w_step, const X* x,
                                                    int64_t width, const T* ahead,
                                                    Lanes (&sum)[N][R]) {
  typedef Products<T, X> P;
  const auto step = [&](int64_t k, auto&& weight) __attribute__((always_inline)) {
    typename P::Value value[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) value[r] = P::input(x + k * R + r * P::kNumbers);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const typename P::Value factor = weight(w + n * w_step + k);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) P::add(sum[n][r], factor, value[r]);
    }
  };
  const auto whole = [](const T* from) __attribute__((always_inline)) { return P::weight(from); };
  int64_t k = 0;
  if (ahead != nullptr) {
    constexpr int64_t kAhead = kAheadBytes / sizeof(T);
    const auto fetching = [&](int64_t last, const T* from) __attribute__((always_inline)) {
      for (; k + P::kNumbers <= last; k += P::kNumbers) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) __builtin_prefetch(from + n * w_step + k);
        step(k, whole);
      }
    };
    fetching(width - kAhead, w + kAhead);
    // at the end of these rows, the beginning of the next ones
    fetching(width, ahead + kAhead - width);
  }
  for (; k + P::kNumbers <= width; k += P::kNumbers) step(k, whole);
  if (k < width) {
    step(k,
         [&](const T* from) __attribute__((always_inline)) { return P::weight(from, width - k); });
  }
}

void copy(float value, float* to) { *to = value; }

void copy(uint16_t bits, uint16_t* to) { *to = bits; }

void copy(uint16_t bits, float* to) { *to = number(bits); }

void round_to(float value, float* to) { *to = value; }

// To the nearest bfloat16, ties to even; a NaN stays one.
void round_to(float value, uint16_t* to) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
  *to = static_cast<uint16_t>(value == value ? rounded >> 16 : bits >> 16 | 0x40);
}
