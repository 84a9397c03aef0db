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
