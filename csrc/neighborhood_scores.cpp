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
#include "neighborhood_formats.h"

// of norms, as half precision leaves them
constexpr Number kNormTolerance = 2e-2f;
// rows of bfloat16 held as numbers at once, in the first-level cache
constexpr int64_t kHeldRows = 32;
// rows of a task that takes norms
constexpr int64_t kNormRows = 16;
constexpr uint16_t kMaskedHalf = 0xff80;  // -inf

// A part is kScoreRows rows of the memory or of the others, which stay in the second-level cache
// while they are checked and summed: its sums do not depend on the number of threads.
struct Sweep {
  const Scores<Number>& scores;
  int64_t parts, lanes;
  Number* known;     // (4, lanes), see Known
  double* sums;      // (parts, 2, lanes), then (2, lanes) of all
  int64_t* refused;  // (parts) first row with a norm other than 0 or 1, or kDone
  Number* held;      // (kHeldRows, lanes) for each worker, if bfloat16 is stored
  Pass pass;
  bool first;
};

// Stored bfloat16 of one matrix: from a row on, `step` apart for each sample.
struct Cosines {
  uint16_t* first;
  int64_t step;
};

Cosines cosines_of(const Scores<Number>& p, int64_t row) {
  uint16_t* const all = static_cast<uint16_t*>(p.scores);
  if (row >= p.size) return {all + p.size * p.batch + (row - p.size), p.extras};
  const int64_t begin = row / p.block * p.block;
  return {all + begin * p.batch + (row - begin), smaller(p.block, p.size - begin)};
}

void hide(const Scores<Number>& p, int64_t row, int64_t begin, int64_t end) {
  if (p.block > 0) {
    const Cosines c = cosines_of(p, row);
    for (int64_t i = begin; i < end; ++i) c.first[i * c.step] = kMaskedHalf;
    return;
  }
  Number* const logits = static_cast<Number*>(p.scores) + row * p.step;
  for (int64_t i = begin; i < end; ++i) logits[i] = -INFINITY;
}

void mask_unvisited(const Sweep& s, int64_t part, int64_t begin, int64_t end) {
  const Scores<Number>& p = s.scores;
  s.refused[part] = kDone;
  for (int64_t row = begin; row < smaller(end, p.size); ++row) {
    const Number norm = p.norms[row];
    if (norm == 0) {
      hide(p, row, 0, p.batch);
      // written so that a NaN is an error
    } else if (!(__builtin_fabs(norm - 1) <= kNormTolerance)) {
      s.refused[part] = row;
      return;
    }
  }
}

// Logits (count, lanes) of stored bfloat16; lanes beyond the batch get 0.
void hold(const Sweep& s, Cosines from, int64_t count, Number* to) {
  const int64_t batch = s.scores.batch;
  for (int64_t lane = 0; lane < s.lanes; lane += kLanes) {
    for (int64_t row = 0; row < count; row += kLanes) {
      Number square[kLanes * kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        Lanes value = {};
        const uint16_t* at = from.first + (lane + i) * from.step + row;
        if (lane + i < batch) {
          value =
              row + kLanes <= count ? Bfloat16::lanes(at) : some_lanes<Bfloat16>(at, count - row);
        }
        store(square + i * kLanes, value * s.scores.factor);
      }
      transpose_square(square, kLanes, to + row * s.lanes + lane, s.lanes);
    }
  }
}

// To the nearest bfloat16, ties to even; weights are finite.
void round_held(const Sweep& s, const Number* from, int64_t count, Cosines to) {
  for (int64_t lane = 0; lane < s.scores.batch; lane += kLanes) {
    for (int64_t row = 0; row < count; row += kLanes) {
      Number square[kLanes * kLanes];
      transpose_square(from + row * s.lanes + lane, s.lanes, square, kLanes);
      const auto bytes = static_cast<size_t>(2 * smaller(kLanes, count - row));
      for (int64_t i = 0; i < smaller(kLanes, s.scores.batch - lane); ++i) {
        const Words bits = (Words) __builtin_convertvector(load(square + i * kLanes), Floats);
        const Halves rounded =
            __builtin_convertvector((bits + 0x7fff + (bits >> 16 & 1)) >> 16, Halves);
        __builtin_memcpy(to.first + (lane + i) * to.step + row, &rounded, bytes);
      }
    }
  }
}

void sweep_part(void* context, int64_t part, int worker) {
  const Sweep& s = *static_cast<Sweep*>(context);
  const Scores<Number>& p = s.scores;
  const int64_t part_of_others = part - ceil_div(p.size, kScoreRows);
  const int64_t begin =
      part_of_others < 0 ? part * kScoreRows : p.size + part_of_others * kScoreRows;
  const int64_t end = smaller(begin + kScoreRows, part_of_others < 0 ? p.size : p.size + p.extras);
  double* sums = s.sums + part * 2 * s.lanes;
  for (int64_t i = 0; i < 2 * s.lanes; ++i) sums[i] = 0.0;
  if (s.first) mask_unvisited(s, part, begin, end);
  const Known known = known_of(p.eps, s.known, s.lanes);
  if (p.block == 0) {
    sweep(s.pass, static_cast<Number*>(p.scores) + begin * p.step, nullptr, end - begin, s.lanes,
          known, sums, sums + s.lanes);
    return;
  }
  Number* held = s.held + worker * kHeldRows * s.lanes;
  for (int64_t row = begin; row < end; row += kHeldRows) {
    const int64_t count = smaller(kHeldRows, end - row);
    const Cosines stored = cosines_of(p, row);
    hold(s, stored, count, held);
    sweep(s.pass, held, nullptr, count, s.lanes, known, sums, sums + s.lanes);
    if (s.pass == Pass::kExactWeights || s.pass == Pass::kSmoothedWeights) {
      round_held(s, held, count, stored);
    }
  }
}

double* run_pass(Sweep& s, Pass pass, int threads) {
  const int64_t count = 2 * s.lanes;
  double* total = s.sums + s.parts * count;
  s.pass = pass;
  parallel_run(threads, s.parts, sweep_part, &s);
  for (int64_t i = 0; i < count; ++i) total[i] = 0.0;
  for (int64_t part = 0; part < s.parts; ++part) {
    for (int64_t i = 0; i < count; ++i) total[i] += s.sums[part * count + i];
  }
  return total;
}

void mask_own(const Scores<Number>& p) {
  for (int64_t i = 0; i < p.batch; ++i) {
    if (p.own < 0) {
      hide(p, p.indices[i], i, i + 1);
      continue;
    }
    hide(p, p.indices[i], 0, p.batch);
    hide(p, p.size + p.own + i, i, i + 1);
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
    const double mean = sums[s.lanes + i] / sums[i];
    s.known[i] = static_cast<Number>(1.0 / sums[i]);
    learn_mean(s.known, s.lanes, i, mean);
    total += log(sums[i]) - mean;
  }
  if (p.eps != 0) {
    total = 0.0;
    sums = run_pass(s, Pass::kSmoothed, threads);
    for (int64_t i = 0; i < p.batch; ++i) {
      learn_mean(s.known, s.lanes, i, sums[s.lanes + i]);
      total += sums[i];
    }
  }
  *p.entropy = static_cast<Number>(total / static_cast<double>(p.batch));
  if (p.weights) run_pass(s, p.eps == 0 ? Pass::kExactWeights : Pass::kSmoothedWeights, threads);
  return kDone;
}

// Norms of kNormRows rows, in an order that does not depend on the threads.
void norms_of(void* context, int64_t task, int) {
  const Rows<Number>& r = *static_cast<const Rows<Number>*>(context);
  as_stored(r.stored, [&]<typename Source>(Source) {
    const int64_t end = smaller((task + 1) * kNormRows, r.size);
    for (int64_t row = task * kNormRows; row < end; ++row) {
      const auto* from = static_cast<const typename Source::Type*>(r.values) + row * r.step;
      Lanes squares[4] = {};
      int64_t k = 0;
      for (; k + 4 * kLanes <= r.width; k += 4 * kLanes) {
        for (int i = 0; i < 4; ++i) {
          const Lanes value = Source::lanes(from + k + i * kLanes);
          squares[i] += value * value;
        }
      }
      for (; k < r.width; k += kLanes) {
        const Lanes value = some_lanes<Source>(from + k, r.width - k);
        squares[0] += value * value;
      }
      const Lanes sum = (squares[0] + squares[1]) + (squares[2] + squares[3]);
      r.norms[row] = static_cast<Number>(__builtin_sqrt(sum_lanes(sum)));
    }
  });
}

}  // namespace

int64_t neighborhood_weights(const Scores<Number>& scores, int threads) {
  const bool rounded = scores.block > 0;
  Sweep s{.scores = scores,
          .parts = ceil_div(scores.size, kScoreRows) + ceil_div(scores.extras, kScoreRows),
          .lanes = rounded ? ceil_div(scores.batch, kScoreLanes) * kScoreLanes : scores.step};
  const int64_t known = 4 * s.lanes, sums = (s.parts + 1) * 2 * s.lanes;
  const int64_t held = rounded ? threads * kHeldRows * s.lanes : 0;
  // lanes beyond the batch hold any numbers, and so do their sums, which are not read
  void* const arena = calloc(static_cast<size_t>(known + sums + s.parts + held), 8);
  if (arena == nullptr) return kNoMemory;
  s.sums = static_cast<double*>(arena);
  s.refused = reinterpret_cast<int64_t*>(s.sums + sums);
  s.known = reinterpret_cast<Number*>(s.refused + s.parts);
  s.held = s.known + known;
  const int64_t result = solve(s, threads);
  free(arena);
  return result;
}

void neighborhood_norms(const Rows<Number>& rows, int threads) {
  parallel_run(threads, ceil_div(rows.size, kNormRows), norms_of, const_cast<Rows<Number>*>(&rows));
}

}  // namespace fastbrain::FASTBRAIN_NAMESPACE
