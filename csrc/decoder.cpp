// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name. See isa.h: no
// standard-library template is used here.
//
// A step reads every weight once with little arithmetic. What it costs beside that is the start of
// parallel sections, so a layer has five: q, k and v; attention; its output; gate and up; down.
#include "decoder.h"

#include <math.h>
#include <stdlib.h>

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

// clang-format off: each builds on those before
#include "tile.h"
#include "widen.h"
#include "exponential.h"
#include "decoder_linear.h"
#include "decoder_attention.h"
#include "decoder_pick.h"
// clang-format on

int64_t padded(int64_t width) { return ceil_div(width, 16) * 16; }

// Activations of all rows; everything behind a row's width stays zero.
struct Workspace {
  float* memory;
  Matrix x, y, q, k, v, heads, up, gate, low[3];
  float* scores;
  int64_t scores_step, score_step;
};

Matrix cut(float*& at, int64_t rows, int64_t width) {
  const Matrix found{at, padded(width)};
  at += rows * found.step;
  return found;
}

bool open(Workspace& w, const DecoderModel& m, const DecoderStep& s, int threads) {
  int64_t rank = 0;
  for (int64_t i = 0; i < m.depth; ++i) {
    const DecoderLayer& l = m.layers[i];
    for (const DecoderLinear* one : {&l.q, &l.k, &l.v, &l.out, &l.gate, &l.up, &l.down}) {
      rank = larger(rank, one->rank);
    }
  }
  rank = larger(rank, m.head.rank);
  const int64_t group = m.heads / m.key_heads, heads = m.heads * m.head_width;
  w.score_step = padded(s.length);
  w.scores_step = group * w.score_step;
  const int64_t floats =
      s.count * (2 * padded(m.width) + 2 * padded(heads) + 2 * padded(m.key_heads * m.head_width) +
                 2 * padded(m.hidden) + 3 * padded(rank)) +
      threads * w.scores_step;
  w.memory = allocate(floats);
  if (w.memory == nullptr) return false;
  __builtin_memset(w.memory, 0, floats * sizeof(float));
  float* at = w.memory;
  for (Matrix* one : {&w.x, &w.y}) *one = cut(at, s.count, m.width);
  for (Matrix* one : {&w.q, &w.heads}) *one = cut(at, s.count, heads);
  for (Matrix* one : {&w.k, &w.v}) *one = cut(at, s.count, m.key_heads * m.head_width);
  for (Matrix* one : {&w.up, &w.gate}) *one = cut(at, s.count, m.hidden);
  for (Matrix& one : w.low) one = cut(at, s.count, rank);
  w.scores = at;
  return true;
}

void normalise_rows(const Matrix& from, const Matrix& to, int64_t rows, int64_t width,
                    const DecoderNorm& norm) {
  for (int64_t row = 0; row < rows; ++row) {
    normalise(from.at + row * from.step, to.at + row * to.step, width, norm);
  }
}

struct Pass {
  const DecoderModel& m;
  const DecoderStep& s;
  Workspace& w;
  int threads;

  Product product(const DecoderLinear& l, Matrix x, Matrix out, int low = 0,
                  bool add = false) const {
    return {&l, x, w.low[low], out, s.count, add};
  }

  // Adds a layer's output to the residual stream, normalised before where there is a norm.
  void add(const DecoderLinear& l, Matrix x, const DecoderNorm& after) const {
    const bool plain = after.weight == nullptr;
    Products one{};
    one.part[0] = product(l, x, plain ? w.x : w.y, 0, plain);
    one.parts = 1;
    run(one, threads);
    if (plain) return;
    normalise_rows(w.y, w.y, s.count, m.width, after);
    for (int64_t row = 0; row < s.count; ++row) {
      for (int64_t i = 0; i < m.width; ++i)
        w.x.at[row * w.x.step + i] += w.y.at[row * w.y.step + i];
    }
  }

  void layer(int64_t index) const {
    const DecoderLayer& l = m.layers[index];
    normalise_rows(w.x, w.y, s.count, m.width, l.before_attention);
    Products qkv{};
    qkv.part[0] = product(l.q, w.y, w.q, 0);
    qkv.part[1] = product(l.k, w.y, w.k, 1);
    qkv.part[2] = product(l.v, w.y, w.v, 2);
    qkv.parts = 3;
    run(qkv, threads);
    const int64_t held = s.cache_rows * m.key_heads * s.length * m.head_width;
    Attention attention{m,
                        l,
                        s,
                        w.q,
                        w.k,
                        w.v,
                        w.heads,
                        s.keys + index * held,
                        s.values + index * held,
                        w.scores,
                        w.scores_step,
                        w.score_step};
    // few positions are less work than waking other threads
    const bool alone = s.count * m.heads * m.head_width * s.length < 1 << 15;
    parallel_run(alone ? 1 : threads, s.count * m.key_heads, one_head, &attention);
    add(l.out, w.heads, l.after_attention);
    normalise_rows(w.x, w.y, s.count, m.width, l.before_mlp);
    Products mlp{};
    mlp.gated = l.gate.weight != nullptr;
    mlp.activates = true;
    mlp.activation = m.activation;
    mlp.parts = mlp.gated ? 2 : 1;
    mlp.part[0] = product(mlp.gated ? l.gate : l.up, w.y, mlp.gated ? w.gate : w.up, 0);
    mlp.part[1] = product(l.up, w.y, w.up, 1);
    run(mlp, threads);
    add(l.down, mlp.gated ? w.gate : w.up, l.after_mlp);
  }

  void all() const {
    for (int64_t row = 0; row < s.count; ++row) {
      float* to = w.x.at + row * w.x.step;
      const float* more = m.positions == nullptr ? nullptr : m.positions + s.places[row] * m.width;
      for (int64_t i = 0; i < m.width; ++i) {
        to[i] = s.embeds[row * m.width + i] + (more == nullptr ? 0.0f : more[i]);
      }
    }
    for (int64_t index = 0; index < m.depth; ++index) layer(index);
    normalise_rows(w.x, w.y, s.count, m.width, m.norm);
    Products head{};
    head.part[0] = product(m.head, w.y, {s.logits, m.head.d_out});
    head.parts = 1;
    head.cap = m.logit_cap;
    run(head, threads);
  }
};

bool step(const DecoderModel& m, const DecoderStep& s, int threads) {
  Workspace w;
  if (!open(w, m, s, threads)) return false;
  Pass{m, s, w, threads}.all();
  free(w.memory);
  return true;
}

}  // namespace

extern const Decoder decoder;
extern const Decoder decoder = {step, pick};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE
