// Gradient of a bfloat16 weight by products of pairs of samples. Included by
// voxel_tokenizer_bfloat16.cpp inside its namespace.

constexpr int64_t kGradInner = 256, kGradRows = 384, kGradStep = kGradInner + kColumns + 16;

struct Backward {
  GradientSource from;
  float* out;
  int64_t inner;
  Slices slices;
  Number* patches;  // one (kGradRows / 2, kGradStep) for each worker
  Number* grads;    // one (kGradRows / 2, kLanes) for each worker
};

// One slice of the inner axis and one group of features; pairs of samples are summed in a fixed
// order.
void accumulate(void* context, int64_t task, int worker) {
  const Backward& g = *static_cast<Backward*>(context);
  const VoxelSource& s = g.from.source;
  Number* patches = g.patches + worker * (kGradRows / 2) * kGradStep;
  Number* grads = g.grads + worker * (kGradRows / 2) * kLanes;
  const int64_t first = task % g.slices.count * g.slices.rows;
  const int64_t last = smaller(first + g.slices.rows, s.frames * s.rows);
  const int64_t width = (last - first) * s.width, column = first * s.width;
  const int64_t feature_first = task / g.slices.count * g.slices.tile_group * kRows;
  const int64_t feature_last =
      smaller(feature_first + g.slices.tile_group * kRows, g.from.features);
  Start start = Start::kZero;
  int64_t sample = 0;
  do {
    const Bfloat16* from[kGradRows];
    const int32_t count =
        pack_pairs<kGradRows, kGradStep>(g.from, first, last, sample, patches, from);
    const Run all = {0, (count + 1) / 2};
    for (int64_t feature = feature_first; feature < feature_last; feature += kRows) {
      const int64_t tile = smaller(kRows, feature_last - feature);
      float* out[kRows];
      for (int64_t j = 0; j < tile; ++j) out[j] = g.out + (feature + j) * g.inner + column;
      pair_gradients(from, count, feature, tile, grads);
      for (int64_t k = 0; k < width; k += kColumns) {
        multiply_tile<1, kLanes, kRows>(&all, 1, grads, patches + k, kGradStep, start, nullptr, out,
                                        k, tile, smaller(kColumns, width - k));
      }
    }
    start = Start::kAdd;
  } while (sample < g.from.samples);
}

bool backward(const VoxelSource& source, const Bfloat16* grad, int64_t features, float* grad_weight,
              int threads) {
  Backward g{
      .from = {source, choose_pack<Bfloat16>(source), grad, features, source.batch * source.tokens},
      .out = grad_weight,
      .inner = source.frames * source.rows * source.width,
      .slices = divide_gradient(source, kGradInner, features, kRows, 2, threads)};
  if (g.from.samples == 0) {
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
