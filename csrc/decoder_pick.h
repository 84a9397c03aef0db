// The likeliest token of a row of logits. Included by decoder.cpp in the namespace of its
// instruction set, after tile.h.

// The first of the largest numbers that are not of tokens of `never`, or -1 if none is finite.
static int64_t pick_others(const float* logits, int64_t vocabulary, const int64_t* never,
                           int64_t count) {
  int64_t best = -1;
  for (int64_t k = 0; k < vocabulary; ++k) {
    bool allowed = logits[k] > (best < 0 ? -INFINITY : logits[best]);
    for (int64_t i = 0; i < count; ++i) allowed = allowed && never[i] != k;
    if (allowed) best = k;
  }
  return best;
}

// The same, or -1 too if a number is NaN or plus infinity.
static int64_t pick(const float* logits, int64_t vocabulary, const int64_t* never, int64_t count) {
  // of these many numbers only the largest is kept, and the first such block is searched again
  constexpr int64_t kBlock = 1 << 10;
  float most = -INFINITY;
  int64_t begin = 0;
  for (int64_t first = 0; first < vocabulary; first += kBlock) {
    const int64_t last = smaller(vocabulary, first + kBlock);
    Lanes largest = Lanes{} - INFINITY;
    Integers strange = {};
    int64_t k = first;
    for (; k + kLanes <= last; k += kLanes) {
      const Lanes value = load(logits + k);
      largest = value > largest ? value : largest;
      strange |= value != value;
    }
    float found = -INFINITY;
    for (int i = 0; i < kLanes; ++i) {
      if (strange[i] != 0) return -1;
      if (largest[i] > found) found = largest[i];
    }
    for (; k < last; ++k) {
      if (logits[k] != logits[k]) return -1;
      if (logits[k] > found) found = logits[k];
    }
    if (found > most) most = found, begin = first;
  }
  if (!(most > -INFINITY && most < INFINITY)) return -1;
  int64_t best = begin;
  while (logits[best] != most) ++best;
  for (int64_t i = 0; i < count; ++i) {
    if (never[i] == best) return pick_others(logits, vocabulary, never, count);
  }
  return best;
}
