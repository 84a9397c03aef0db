// Rows of the memory in any stored type, read as vectors of numbers. Included, as tile.h is, by the
// sources that are compiled once for each instruction set, inside their namespace.

typedef uint16_t Halves __attribute__((vector_size(kLanes * sizeof(uint16_t))));
typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(uint32_t))));
typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));

static inline Words load_halves(const uint16_t* from) {
  Halves value;
  __builtin_memcpy(&value, from, sizeof(value));
  return __builtin_convertvector(value, Words);
}

template <typename Element>
struct Plain {
  typedef Element Type;
  static inline Lanes lanes(const Element* from) {
    typedef Element Vector __attribute__((vector_size(kLanes * sizeof(Element))));
    Vector value;
    __builtin_memcpy(&value, from, sizeof(value));
    return __builtin_convertvector(value, Lanes);
  }
};

struct Bfloat16 {
  typedef uint16_t Type;
  static inline Lanes lanes(const uint16_t* from) {
    return __builtin_convertvector((Floats)(load_halves(from) << 16), Lanes);
  }
};

struct Float16 {
  typedef uint16_t Type;
  // exponent and fraction shifted into place, the exponent's bias made up by a product with 2^112,
  // which also normalises; infinity and NaN become large numbers, refused by their norm
  static inline Lanes lanes(const uint16_t* from) {
    const Words half = load_halves(from);
    const Floats magnitude = (Floats)((half & 0x7fffu) << 13) * 0x1p112f;
    return __builtin_convertvector((Floats)((Words)magnitude | ((half & 0x8000u) << 16)), Lanes);
  }
};

// `count` numbers from `from` on, at most kLanes of them, the others zero.
template <typename Source>
static inline Lanes some_lanes(const typename Source::Type* from, int64_t count) {
  typename Source::Type some[kLanes] = {};
  for (int64_t i = 0; i < smaller(count, kLanes); ++i) some[i] = from[i];
  return Source::lanes(some);
}

// Calls run(source) with the reader of a stored type.
template <typename Run>
static inline void as_stored(DType stored, const Run& run) {
  switch (stored) {
    case DType::kFloat32:
      return run(Plain<float>());
    case DType::kFloat16:
      return run(Float16());
    case DType::kBfloat16:
      return run(Bfloat16());
    case DType::kFloat64:
      return run(Plain<double>());
    default:
      return;  // the bindings refuse the others
  }
}
