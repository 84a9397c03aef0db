// Rows and codes as bytes, with the rounding error of each. Included after tile.h and vq_rows.h
// by vq_screen.cpp, inside its namespace.

constexpr int64_t kQuad = 4;     // products that one instruction adds up
constexpr int64_t kHeader = 16;  // floats before the panels
constexpr int kShift = 128;      // makes the bytes of a code unsigned
constexpr float kLargest = 127;  // of a signed byte

struct Header {
  float scale, longest, error, half;  // s_c, max|c|, max|e_c|, max|c|² / 2
};

// A panel: what is added to each product, -|c|² / 2, then the bytes, four of a code side by side.
int64_t panel_floats(int64_t width) { return (1 + ceil_div(width, kQuad)) * kColumns; }

int64_t floats(int64_t codes, int64_t width) {
  return kHeader + ceil_div(codes, kColumns) * panel_floats(width);
}

float total(Lanes value) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += value[i];
  return sum;
}

// Sixteen values from `first` on, zero beyond `width`.
Lanes load_some(const float* from, int64_t first, int64_t width) {
  const int64_t count = width - first;
  const __mmask16 there = count >= kLanes ? 0xffff : static_cast<__mmask16>((1 << count) - 1);
  return reinterpret_cast<Lanes>(_mm512_maskz_loadu_ps(there, from + first));
}

float largest(const float* values, int64_t width) {
  __m512 top = _mm512_setzero_ps();
  for (int64_t k = 0; k < width; k += kLanes) {
    top = _mm512_max_ps(top, _mm512_abs_ps(reinterpret_cast<__m512>(load_some(values, k, width))));
  }
  return _mm512_reduce_max_ps(top);
}

struct Lengths {
  float value, bytes, error;  // |x|, |s q|, |x - s q|
};

// Writes q, four to a word, `step` words apart.
Lengths quantise(const float* values, int64_t width, float scale, int shift, int32_t* to,
                 int64_t step) {
  const float inverse = scale > 0 ? 1 / scale : 0;
  Lanes value2 = {}, bytes2 = {}, error2 = {};
  for (int64_t k = 0; k < width; k += kLanes) {
    const Lanes value = load_some(values, k, width) * inverse;
    const __m512i whole = _mm512_cvtps_epi32(reinterpret_cast<__m512>(value));
    const Lanes near = reinterpret_cast<Lanes>(_mm512_cvtepi32_ps(whole));
    value2 += value * value;
    bytes2 += near * near;
    error2 += (value - near) * (value - near);
    alignas(16) int32_t words[kLanes / kQuad];
    const __m512i shifted = _mm512_add_epi32(whole, _mm512_set1_epi32(shift));
    _mm_store_si128(reinterpret_cast<__m128i*>(words), _mm512_cvtepi32_epi8(shifted));
    for (int64_t i = 0; i < kLanes / kQuad && k + i * kQuad < width; ++i) {
      to[(k / kQuad + i) * step] = words[i];
    }
  }
  if (scale == 0) {
    const float longest = largest(values, width) * __builtin_sqrtf(static_cast<float>(width));
    return {longest, 0, longest};
  }
  return {scale * __builtin_sqrtf(total(value2)), scale * __builtin_sqrtf(total(bytes2)),
          scale * __builtin_sqrtf(total(error2))};
}

float scale_of(float top) { return top > 1e-30f ? top / kLargest : 0; }

struct Packing {
  const VqCodes<float>& codes;
  float* to;
  float scale;
  float* found;  // (panels, 3): the largest values, or the largest lengths, errors and halves
};

void measure(void* context, int64_t panel, int) {
  const Packing& p = *static_cast<Packing*>(context);
  const int64_t last = smaller((panel + 1) * kColumns, p.codes.count);
  float top = 0;
  for (int64_t code = panel * kColumns; code < last; ++code) {
    const float size = largest(p.codes.values + code * p.codes.width, p.codes.width);
    top = size > top ? size : top;
  }
  p.found[panel * 3] = top;
}

void pack_panel(void* context, int64_t panel, int) {
  const Packing& p = *static_cast<Packing*>(context);
  const int64_t width = p.codes.width, step = panel_floats(width);
  float* halves = p.to + kHeader + panel * step;
  int32_t* bytes = reinterpret_cast<int32_t*>(halves + kColumns);
  for (int64_t i = 0; i < step - kColumns; ++i) bytes[i] = 0;
  float* found = p.found + panel * 3;
  found[0] = found[1] = found[2] = 0;
  for (int64_t j = 0; j < kColumns; ++j) {
    const int64_t code = panel * kColumns + j;
    // padding never survives
    halves[j] = -__builtin_inff();
    if (code >= p.codes.count) continue;
    const float* values = p.codes.values + code * width;
    const Lengths lengths = quantise(values, width, p.scale, kShift, bytes + j, kColumns);
    halves[j] = p.codes.euclidean ? minus_half_square(values, width) : 0.0f;
    const float sizes[] = {lengths.value, lengths.error, -halves[j]};
    for (int i = 0; i < 3; ++i) found[i] = sizes[i] > found[i] ? sizes[i] : found[i];
  }
}

bool pack(const VqCodes<float>& codes, float* to, int threads) {
  const int64_t panels = ceil_div(codes.count, kColumns);
  Packing packing{codes, to, 0, allocate(panels * 3)};
  if (packing.found == nullptr) return false;
  parallel_run(threads, panels, measure, &packing);
  float top = 0;
  for (int64_t i = 0; i < panels; ++i) {
    top = packing.found[i * 3] > top ? packing.found[i * 3] : top;
  }
  packing.scale = scale_of(top);
  parallel_run(threads, panels, pack_panel, &packing);
  Header header{packing.scale, 0, 0, 0};
  float* most[] = {&header.longest, &header.error, &header.half};
  for (int64_t i = 0; i < panels * 3; ++i) {
    if (packing.found[i] > *most[i % 3]) *most[i % 3] = packing.found[i];
  }
  __builtin_memcpy(to, &header, sizeof(header));
  free(packing.found);
  return true;
}
