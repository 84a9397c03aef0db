// Exponential and logarithm of vectors. Included, as tile.h is, by the sources that are compiled
// once for each instruction set, inside their namespace.

#if defined(FASTBRAIN_DOUBLE)

// below it, e^x leaves the normal numbers
constexpr double kLowest = -708.0;

// ln 2 as a sum; its first term times an integer of up to 11 bits is exact
constexpr double kLn2[] = {0x1.62e42feep-1, 0x1.a39ef35793c76p-33};

// e^x to a unit of the last place, exactly 0 below kLowest and so for -inf.
static inline __attribute__((always_inline)) Lanes exp_lanes(Lanes x) {
  // 1 / k!: the first term left out is below 1e-17
  constexpr double kTerms[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                               1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                               1.0 / 120,        1.0 / 24,        1.0 / 6,        1.0 / 2};
  const Lanes low = {}, bounded = x > kLowest ? x : low + kLowest;
  // adding 1.5 · 2^52 rounds to an integer, which is then in the low bits
  const Lanes shifted = bounded * 0x1.71547652b82fep0 + 0x1.8p52, whole = shifted - 0x1.8p52;
  const Lanes r = (bounded - whole * kLn2[0]) - whole * kLn2[1];
  Lanes p = low;
#pragma GCC unroll 12
  for (double term : kTerms) p = p * r + term;
  p = (p * r * r + r) + 1.0;
  const Lanes scaled = (Lanes)((Integers)p + ((Integers)shifted << 52));
  return x > kLowest ? scaled : low;
}

// ln x of positive normal numbers, to a unit of the last place.
static inline __attribute__((always_inline)) Lanes log_lanes(Lanes x) {
  constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd, kMantissa = 0xfffffffffffff;
  // 2 / (2 k + 1): the first term left out is below 1e-18
  constexpr double kTerms[] = {2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
                               2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3};
  typedef uint64_t Bits __attribute__((vector_size(kVectorBytes)));
  // biased, so that a shift without sign does; 2^52 in front makes it the fraction of a double
  const Bits bits = (Bits)x - kRootHalf + (int64_t{1023} << 52);
  const Lanes power = (Lanes)(bits >> 52 | 0x4330000000000000) - (0x1p52 + 1023);
  const Lanes f = (Lanes)((bits & kMantissa) + kRootHalf) - 1.0, half = f * f * 0.5;
  // with s = f / (2 + f), ln (1 + f) is 2 s + 2 s^3 / 3 + ..., and 2 s is f - s f
  const Lanes s = f / (f + 2.0), z = s * s;
  Lanes p = {};
#pragma GCC unroll 10
  for (double term : kTerms) p = p * z + term;
  p = s * (half + p * z) + power * kLn2[1];
  return power * kLn2[0] + (f - (half - p));
}

#else

constexpr float kLowest = -87.0f;

// e^x to 1e-7, exactly 0 below kLowest and so for -inf.
static inline __attribute__((always_inline)) Lanes exp_lanes(Lanes x) {
  const Lanes low = {}, bounded = x > kLowest ? x : low + kLowest;
  // adding 1.5 · 2^23 rounds to an integer, which is then in the low bits
  const Lanes shifted = bounded * 1.44269504f + 12582912.0f, whole = shifted - 12582912.0f;
  const Lanes r = (bounded - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r * r + r) + 1.0f;
  const Lanes scaled = (Lanes)((Integers)p + ((Integers)shifted << 23));
  return x > kLowest ? scaled : low;
}

// ln x of positive normal numbers, to 1e-7.
static inline __attribute__((always_inline)) Lanes log_lanes(Lanes x) {
  constexpr int32_t kRootHalf = 0x3f3504f3;
  const Integers bits = (Integers)x - kRootHalf;
  const Lanes f = (Lanes)((bits & 0x007fffff) + kRootHalf) - 1.0f, z = f * f;
  const Lanes power = __builtin_convertvector(bits >> 23, Lanes);
  Lanes p = f * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  p = p * f * z - power * 2.12194440e-4f;
  return (p - 0.5f * z) + f + power * 0.693359375f;
}

#endif
