// Stored numbers as float32 lanes: float32, the bits of bfloat16, bytes. Included inside the
// namespace of an instruction set, after tile.h.

static inline __attribute__((always_inline)) Lanes widen(const float* from) { return load(from); }

// Conversions by their instruction: the compiler converts such vectors element by element.
static inline __attribute__((always_inline)) Lanes widen(const uint16_t* from) {
#if defined(__AVX2__)
  typedef short Halves __attribute__((vector_size(kLanes * 2)));
  Halves value;
  __builtin_memcpy(&value, from, sizeof(value));
#if defined(__AVX512F__)
  const Integers wide = (Integers)__builtin_ia32_pmovzxwd512_mask(value, Integers{}, -1);
#else
  const Integers wide = (Integers)__builtin_ia32_pmovzxwd256(value);
#endif
#else
  Integers wide;
  for (int i = 0; i < kLanes; ++i) wide[i] = from[i];
#endif
  return (Lanes)(wide << 16);
}

static inline __attribute__((always_inline)) Lanes widen(const int8_t* from) {
#if defined(__AVX2__)
  typedef char Bytes __attribute__((vector_size(16)));
  Bytes value = {};
  __builtin_memcpy(&value, from, kLanes);
#if defined(__AVX512F__)
  const Integers wide = (Integers)__builtin_ia32_pmovsxbd512_mask(value, Integers{}, -1);
#else
  const Integers wide = (Integers)__builtin_ia32_pmovsxbd256(value);
#endif
#else
  Integers wide;
  for (int i = 0; i < kLanes; ++i) wide[i] = from[i];
#endif
  return __builtin_convertvector(wide, Lanes);
}

// The first `count` numbers, fewer than kLanes, and zeros behind them; reads no others.
static inline __attribute__((always_inline)) Lanes widen_some(const float* from, int64_t count) {
#if defined(__AVX512F__)
  return __builtin_ia32_loadups512_mask(from, Lanes{}, static_cast<uint16_t>((1u << count) - 1));
#else
  float some[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) some[i] = from[i];
  return load(some);
#endif
}

static inline __attribute__((always_inline)) Lanes widen_some(const uint16_t* from, int64_t count) {
#if defined(__AVX512F__)
  typedef short Halves __attribute__((vector_size(kLanes * 2)));
  const Halves value = __builtin_ia32_loaddquhi256_mask(
      reinterpret_cast<const short*>(from), Halves{}, static_cast<uint16_t>((1u << count) - 1));
  return (Lanes)((Integers)__builtin_ia32_pmovzxwd512_mask(value, Integers{}, -1) << 16);
#else
  uint16_t some[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) some[i] = from[i];
  return widen(some);
#endif
}
