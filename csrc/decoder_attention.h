// Attention of one new token a row over the static cache. Included by decoder.cpp.

// The new token's heads of one layer, and the cache that they extend.
struct Attention {
  const DecoderModel& m;
  const DecoderLayer& l;
  const DecoderStep& s;
  Matrix q, k, v, out;
  float* keys;  // of this layer
  float* values;
  float* scratch;  // of each worker: scores of a group of heads
  int64_t scratch_step, score_step;
};

static float sum_of_squares(const float* x, int64_t width) {
  Lanes sum = {};
  int64_t k = 0;
  for (; k + kLanes <= width; k += kLanes) sum += load(x + k) * load(x + k);
  float end = 0.0f;
  for (; k < width; ++k) end += x[k] * x[k];
  return sum_lanes(sum) + end;
}

static void normalise(const float* x, float* to, int64_t width, const DecoderNorm& norm) {
  if (norm.bias == nullptr) {
    const float factor = 1.0f / sqrtf(sum_of_squares(x, width) / width + norm.eps);
    for (int64_t k = 0; k < width; ++k) to[k] = x[k] * factor * norm.weight[k];
    return;
  }
  float sum = 0.0f, squares = 0.0f;
  for (int64_t k = 0; k < width; ++k) sum += x[k];
  const float mean = sum / width;
  for (int64_t k = 0; k < width; ++k) squares += (x[k] - mean) * (x[k] - mean);
  const float factor = 1.0f / sqrtf(squares / width + norm.eps);
  for (int64_t k = 0; k < width; ++k) {
    to[k] = (x[k] - mean) * factor * norm.weight[k] + norm.bias[k];
  }
}

// Norm and rotary embedding of one head, in place.
static void prepare(float* x, const Attention& t, const DecoderNorm& norm, int64_t place) {
  const int64_t width = t.m.head_width, half = width / 2;
  if (norm.weight != nullptr) normalise(x, x, width, norm);
  if (t.l.cosines == nullptr) return;
  const float* c = t.l.cosines + place * width;
  const float* s = t.l.sines + place * width;
  for (int64_t i = 0; i < half; ++i) {
    const float left = x[i], right = x[i + half];
    x[i] = left * c[i] - right * s[i];
    x[i + half] = right * c[i + half] + left * s[i + half];
  }
}

static float dot(const float* a, const float* b, int64_t width) {
  Lanes sum = {};
  int64_t k = 0;
  for (; k + kLanes <= width; k += kLanes) sum += load(a + k) * load(b + k);
  float end = 0.0f;
  for (; k < width; ++k) end += a[k] * b[k];
  return sum_lanes(sum) + end;
}

// Softmax of scores[0, count), in place, not divided by the returned sum.
static float exponentials(float* scores, int64_t count) {
  float highest = -INFINITY;
  for (int64_t j = 0; j < count; ++j) {
    // a NaN is kept, so that it reaches the logits
    highest = scores[j] > highest || scores[j] != scores[j] ? scores[j] : highest;
  }
  Lanes sum = {};
  for (int64_t j = 0; j < count; j += kLanes) {
    Lanes value = Lanes{} - INFINITY;
    __builtin_memcpy(&value, scores + j, smaller(kLanes, count - j) * sizeof(float));
    value = exp_lanes(value - highest);
    sum += value;
    __builtin_memcpy(scores + j, &value, smaller(kLanes, count - j) * sizeof(float));
  }
  const float found = sum_lanes(sum);
  return highest == highest ? found : highest;
}

// to = Σ weights[j] · rows[j] / sum
static void weighted(const float* weights, const float* rows, int64_t count, int64_t width,
                     float sum, float* to) {
  int64_t k = 0;
  for (; k + kLanes <= width; k += kLanes) {
    Lanes found = {};
    for (int64_t j = 0; j < count; ++j) found += weights[j] * load(rows + j * width + k);
    store(to + k, found / sum);
  }
  for (; k < width; ++k) {
    float found = 0.0f;
    for (int64_t j = 0; j < count; ++j) found += weights[j] * rows[j * width + k];
    to[k] = found / sum;
  }
}

// One key head of one row, with the query heads that share it.
static void one_head(void* context, int64_t task, int worker) {
  const Attention& t = *static_cast<Attention*>(context);
  const int64_t row = task / t.m.key_heads, head = task % t.m.key_heads;
  const int64_t width = t.m.head_width, group = t.m.heads / t.m.key_heads;
  const int64_t place = t.s.places[row];
  const int64_t base = (t.s.rows[row] * t.m.key_heads + head) * t.s.length * width;
  float* key = t.k.at + row * t.k.step + head * width;
  prepare(key, t, t.l.k_norm, place);
  __builtin_memcpy(t.keys + base + place * width, key, width * sizeof(float));
  __builtin_memcpy(t.values + base + place * width, t.v.at + row * t.v.step + head * width,
                   width * sizeof(float));
  const int64_t first = t.l.window > 0 ? larger(0, place + 1 - t.l.window) : 0;
  const int64_t count = place + 1 - first;
  const float* keys = t.keys + base + first * width;
  float* scores = t.scratch + worker * t.scratch_step;
  float* query = t.q.at + row * t.q.step + head * group * width;
  for (int64_t g = 0; g < group; ++g) prepare(query + g * width, t, t.l.q_norm, place);
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t g = 0; g < group; ++g) {
      scores[g * t.score_step + j] = dot(query + g * width, keys + j * width, width) * t.l.scale;
    }
  }
  for (int64_t g = 0; g < group; ++g) {
    float* own = scores + g * t.score_step;
    if (t.m.attention_cap > 0.0f) {
      for (int64_t j = 0; j < count; j += kLanes) {
        store(own + j, t.m.attention_cap * tanh_lanes(load(own + j) / t.m.attention_cap));
      }
    }
    const float sum = exponentials(own, count);
    weighted(own, t.values + base + first * width, count, width, sum,
             t.out.at + row * t.out.step + (head * group + g) * width);
  }
}
