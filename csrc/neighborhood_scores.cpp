// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name, and by
// neighborhood_scores_double.cpp in float64. See isa.h: no standard-library template is used here.
#include "neighborhood_scores.h"

#include <math.h>
#include <stdlib.h>

#include "neighborhood.h"
#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"

// in this order: each builds on those before
#include "exponential.h"
#include "neighborhood_entropy.h"

// of norms, as half precision leaves them
constexpr Number kNormTolerance = 2e-2f;
// rows of a part, which stay in the second-level cache while they are checked and summed
constexpr int64_t kPartRows = 512;

// A part is a fixed range of rows: its sums do not depend on the number of threads.
struct Sweep {
  const Scores<Number>& scores;
  int64_t parts;
  Number* known;     // (4, step), see Known
  double* sums;      // (parts, 2, step), then (2, step) of all
  int64_t* refused;  // (parts) first row with a norm other than 0 or 1, or kDone
  Pass pass;
  bool first;
};

void mask_unvisited(const Sweep& s, int64_t part, int64_t begin, int64_t end) {
  const Scores<Number>& p = s.scores;
  s.refused[part] = kDone;
  for (int64_t row = begin; row < smaller(end, p.size); ++row) {
    const Number norm = p.norms[row];
    if (norm == 0) {
      for (int64_t lane = 0; lane < p.step; ++lane) p.logits[row * p.step + lane] = -INFINITY;
      // written so that a NaN is an error
    } else if (!(__builtin_fabs(norm - 1) <= kNormTolerance)) {
      s.refused[part] = row;
      return;
    }
  }
}

void sweep_part(void* context, int64_t part, int) {
  const Sweep& s = *static_cast<Sweep*>(context);
  const Scores<Number>& p = s.scores;
  const int64_t begin = part * kPartRows, end = smaller(begin + kPartRows, p.size + p.extras);
  double* sums = s.sums + part * 2 * p.step;
  for (int64_t i = 0; i < 2 * p.step; ++i) sums[i] = 0.0;
  if (s.first) mask_unvisited(s, part, begin, end);
  const Known known{p.eps, s.known, s.known + p.step, s.known + 2 * p.step, s.known + 3 * p.step};
  sweep(s.pass, p.logits + begin * p.step, nullptr, end - begin, p.step, known, sums,
        sums + p.step);
}

double* run_pass(Sweep& s, Pass pass, int threads) {
  const int64_t count = 2 * s.scores.step;
  double* total = s.sums + s.parts * count;
  s.pass = pass;
  parallel_run(threads, s.parts, sweep_part, &s);
  for (int64_t i = 0; i < count; ++i) total[i] = 0.0;
  for (int64_t part = 0; part < s.parts; ++part) {
    for (int64_t i = 0; i < count; ++i) total[i] += s.sums[part * count + i];
  }
  return total;
}

void learn_mean(const Sweep& s, int64_t lane, double mean) {
  Number* known = s.known + s.scores.step + lane;
  known[0] = static_cast<Number>(mean);
  known[s.scores.step] = static_cast<Number>(mean - static_cast<double>(known[0]));
}

void mask_own(const Scores<Number>& p) {
  for (int64_t i = 0; i < p.batch; ++i) {
    Number* row = p.logits + p.indices[i] * p.step;
    if (p.own < 0) {
      row[i] = -INFINITY;
      continue;
    }
    for (int64_t lane = 0; lane < p.step; ++lane) row[lane] = -INFINITY;
    p.logits[(p.size + p.own + i) * p.step + i] = -INFINITY;
  }
}

int64_t solve(Sweep& s, int threads) {
  const Scores<Number>& p = s.scores;
  double total = 0.0;
  mask_own(p);
  s.first = true;
  const double* sums = run_pass(s, Pass::kMoments, threads);
  s.first = false;
  for (int64_t part = 0; part < s.parts; ++part) {
    if (s.refused[part] != kDone) return s.refused[part];
  }
  for (int64_t i = 0; i < p.batch; ++i) {
    const double mean = sums[p.step + i] / sums[i];
    s.known[i] = static_cast<Number>(1.0 / sums[i]);
    learn_mean(s, i, mean);
    total += log(sums[i]) - mean;
  }
  if (p.eps != 0) {
    total = 0.0;
    sums = run_pass(s, Pass::kSmoothed, threads);
    for (int64_t i = 0; i < p.batch; ++i) {
      learn_mean(s, i, sums[p.step + i]);
      total += sums[i];
    }
  }
  *p.entropy = static_cast<Number>(total / static_cast<double>(p.batch));
  if (p.weights) run_pass(s, p.eps == 0 ? Pass::kExactWeights : Pass::kSmoothedWeights, threads);
  return kDone;
}

}  // namespace

int64_t neighborhood_weights(const Scores<Number>& scores, int threads) {
  Sweep s{.scores = scores, .parts = ceil_div(scores.size + scores.extras, kPartRows)};
  const int64_t lanes = 4 * scores.step, sums = (s.parts + 1) * 2 * scores.step;
  // lanes beyond the batch hold any numbers, and so do their sums, which are not read
  void* const arena = calloc(static_cast<size_t>(lanes + sums + s.parts), 8);
  if (arena == nullptr) return kNoMemory;
  s.sums = static_cast<double*>(arena);
  s.refused = reinterpret_cast<int64_t*>(s.sums + sums);
  s.known = reinterpret_cast<Number*>(s.refused + s.parts);
  const int64_t result = solve(s, threads);
  free(arena);
  return result;
}

}  // namespace fastbrain::FASTBRAIN_NAMESPACE
