// Conversions of stored numbers, and activations. Included by sources that are compiled once for
// each instruction set, inside their namespace, after math.h.

static inline float number(float value) { return value; }

static inline float number(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, sizeof(value));
  return value;
}

static inline float activated(float value, LoraActivation activation) {
  switch (activation) {
    case LoraActivation::kGelu:
      return 0.5f * value * (1.0f + erff(value * 0.70710678f));
    case LoraActivation::kSilu:
      return value / (1.0f + expf(-value));
    case LoraActivation::kRelu:
      // a NaN stays one
      return value < 0.0f ? 0.0f : value;
    default:
      return value;
  }
}
