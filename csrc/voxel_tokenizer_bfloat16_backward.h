// Gradient of a bfloat16 weight by products of pairs of samples. Included by
// voxel_tokenizer_bfloat16.cpp inside its namespace.

constexpr int64_t kGradInner = 256, kGradRows = 384, kGradStep = kGradInner + kColumns + 16;

struct Backward {
  const VoxelSource& source;
  Pack<Bfloat16> pack;
  const Bfloat16* grad;
  float* out;
  int64_t features, inner, samples;
  Slices slices;
  Number* patches;  // one (kGradRows / 2, kGradStep) for each worker
  Number* grads;    // one (kGradRows / 2, kLanes) for each worker
};

void interleave(__m256i low, __m256i high, Number* to) {
  const __m512i shifted = _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
  const __m512i both = _mm512_or_si512(_mm512_cvtepu16_epi32(low), shifted);
  __builtin_memcpy(to, &both, sizeof(both));
}

// One slice of the inner axis and one group of features; pairs of samples are summed in a fixed
// order.
void accumulate(void* context, int64_t task, int worker) {
  const Backward& g = *static_cast<Backward*>(context);
  const VoxelSource& s = g.source;
  Number* patches = g.patches + worker * (kGradRows / 2) * kGradStep;
  Number* grads = g.grads + worker * (kGradRows / 2) * kLanes;
  const int64_t first = task % g.slices.count * g.slices.rows;
  const int64_t last = smaller(first + g.slices.rows, s.frames * s.rows);
  const int64_t width = (last - first) * s.width, column = first * s.width;
  const int64_t feature_first = task / g.slices.count * g.slices.tile_group * kRows;
  const int64_t feature_last = smaller(feature_first + g.slices.tile_group * kRows, g.features);
  Start start = Start::kZero;
  int64_t sample = 0;
  do {
    const Bfloat16* from[kGradRows];
    Bfloat16 rows[2][kGradStep] = {};
    int32_t count = 0;
    for (; sample < g.samples && count < kGradRows; ++sample) {
      const int64_t window = sample / s.tokens, token = sample % s.tokens;
      if (!touches(s, token, first, last)) continue;
      g.pack(s, window, token, first, last, rows[count % 2]);
      Number* to = patches + count / 2 * kGradStep;
      for (int64_t k = 0; k < ceil_div(width, kColumns) * kColumns; k += kLanes) {
        __m256i low, high = {};
        __builtin_memcpy(&low, rows[0] + k, sizeof(low));
        if (count % 2 != 0) __builtin_memcpy(&high, rows[1] + k, sizeof(high));
        interleave(low, high, to + k);
      }
      from[count++] = g.grad + sample * g.features;
    }
    const int32_t pairs = static_cast<int32_t>(ceil_div(count, 2));
    const Run all = {0, pairs};
    for (int64_t feature = feature_first; feature < feature_last; feature += kRows) {
      const int64_t tile = smaller(kRows, feature_last - feature);
      float* out[kRows];
      for (int64_t j = 0; j < tile; ++j) out[j] = g.out + (feature + j) * g.inner + column;
      const __mmask16 kept = static_cast<__mmask16>((1u << tile) - 1);
      for (int64_t i = 0; i < pairs; ++i) {
        const bool whole = 2 * i + 1 < count;
        const __m256i low = _mm256_maskz_loadu_epi16(kept, from[2 * i] + feature);
        const __m256i high =
            whole ? _mm256_maskz_loadu_epi16(kept, from[2 * i + 1] + feature) : __m256i{};
        interleave(low, high, grads + i * kLanes);
      }
      for (int64_t k = 0; k < width; k += kColumns) {
        multiply_tile<1, kLanes, kRows>(&all, 1, grads, patches + k, kGradStep, start, nullptr, out,
                                        k, tile, smaller(kColumns, width - k));
      }
    }
    start = Start::kAdd;
  } while (sample < g.samples);
}

bool backward(const VoxelSource& source, const Bfloat16* grad, int64_t features, float* grad_weight,
              int threads) {
  Backward g{.source = source,
             .pack = choose_pack<Bfloat16>(source),
             .grad = grad,
             .out = grad_weight,
             .features = features,
             .inner = source.frames * source.rows * source.width,
             .samples = source.batch * source.tokens,
             .slices = divide_gradient(source, kGradInner, features, 2, threads)};
  if (g.samples == 0) {
    for (int64_t k = 0; k < features * g.inner; ++k) grad_weight[k] = 0.0f;
    return true;
  }
  g.patches = allocate(threads * (kGradRows / 2) * kGradStep);
  g.grads = allocate(threads * (kGradRows / 2) * kLanes);
  const bool enough = g.patches != nullptr && g.grads != nullptr;
  if (enough && features > 0) {
    parallel_run(threads, g.slices.tasks, accumulate, &g);
  }
  free(g.patches);
  free(g.grads);
  return enough;
}
