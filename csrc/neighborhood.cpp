// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name, and by
// neighborhood_double.cpp in float64. See isa.h: no standard-library template is used here.
#include "neighborhood.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"

// Similarities to the whole memory are stored if they fit this; then the gradient needs one product
// and no second pass, otherwise two products or their recomputation.
constexpr int64_t kWorkspaceBytes = 6 << 20;
// A chunk of the memory and its similarities stay in the second-level cache.
constexpr int64_t kChunkBytes = 512 << 10, kLeastRows = 112, kMostRows = 448;
// Partial gradients of the slots take about this much, but there are enough slots to share.
constexpr int64_t kSlotBytes = 2 << 20, kLeastSlots = 8, kMostSlots = 16;
constexpr int64_t kNumberBytes = sizeof(Number), kLong = 8 / kNumberBytes;  // numbers in 8 bytes

// in this order: each builds on those before
#include "exponential.h"
#include "neighborhood_entropy.h"
#include "neighborhood_formats.h"
#include "neighborhood_rows.h"
#include "neighborhood_stream.h"

// Fresh memory in few large pages: clearing small ones one by one costs as much as a product.
Number* allocate_pages(int64_t numbers) {
  constexpr size_t kPage = 2 << 20;
  const size_t bytes = static_cast<size_t>(numbers * kNumberBytes);
  if (bytes < kPage) return allocate(numbers);
  const size_t whole = (bytes + kPage - 1) / kPage * kPage;
  void* pages = aligned_alloc(kPage, whole);
  // only advice: if it fails, small pages are used
  if (pages != nullptr) madvise(pages, whole, MADV_HUGEPAGE);
  return static_cast<Number*>(pages);
}

// One pass over the other columns and the memory; its two sums land in sums[0] and sums[lanes].
void run_pass(Stream& s, Pass pass, bool scores, int products, int threads, double* sums) {
  s.pass = pass, s.scores = scores, s.products = products;
  for (int64_t i = 0; i < 2 * s.lanes; ++i) sums[i] = 0.0;
  // keep the logits of the other columns: their derivative is computed after the sums
  const Pass alone = pass == Pass::kMomentsDual    ? Pass::kMoments
                     : pass == Pass::kSmoothedDual ? Pass::kSmoothed
                                                   : pass;
  sweep(alone, s.extra, nullptr, s.problem.extras, s.lanes, known_of(s), sums, sums + s.lanes);
  parallel_run(threads, s.slots, run_slot, &s);
  for (int64_t slot = 0; slot < s.slots; ++slot) {
    for (int64_t i = 0; i < 2 * s.lanes; ++i) sums[i] += s.sums[slot * 2 * s.lanes + i];
  }
}

void solve(Stream& s, double* sums, int threads) {
  const Neighborhood<Number>& p = s.problem;
  const bool exact = p.eps == 0, grad = p.grad_features != nullptr, kept = s.workspace;
  const bool dual = grad && !kept;
  double total = 0.0;
  parallel_run(threads, s.others_rows / kRows, score_others, &s);
  // the other columns give a guess of Σ p s, which keeps the two products from cancelling
  Number* center = s.known + 3 * s.lanes;
  for (int64_t i = 0; i < 2 * s.lanes; ++i) sums[i] = 0.0;
  sweep(Pass::kMoments, s.extra, nullptr, p.extras, s.lanes, known_of(s), sums, sums + s.lanes);
  for (int64_t i = 0; i < s.lanes; ++i)
    center[i] = static_cast<Number>(sums[s.lanes + i] / sums[i]);
  run_pass(s, exact && dual ? Pass::kMomentsDual : Pass::kMoments, true, exact && dual ? 2 : 0,
           threads, sums);
  for (int64_t i = 0; i < s.lanes; ++i) {
    const double mean = sums[s.lanes + i] / sums[i];
    s.known[i] = static_cast<Number>(1.0 / sums[i]);
    learn_mean(s.known, s.lanes, i, mean);
    s.left[i] = (mean - static_cast<double>(center[i])) / sums[i], s.right[i] = -1.0 / sums[i];
    if (i < p.batch) total += log(sums[i]) - mean;
  }
  if (!exact) {
    total = 0.0;
    run_pass(s, dual ? Pass::kSmoothedDual : Pass::kSmoothed, !kept, dual ? 2 : 0, threads, sums);
    for (int64_t i = 0; i < s.lanes; ++i) {
      learn_mean(s.known, s.lanes, i, sums[s.lanes + i]);
      s.left[i] = -sums[s.lanes + i], s.right[i] = 1.0;
      if (i < p.batch) total += sums[i];
    }
  }
  *p.entropy = static_cast<Number>(total / static_cast<double>(p.batch));
  if (!grad) return;
  const Pass weights = exact ? Pass::kExactWeights : Pass::kSmoothedWeights;
  if (kept) {
    run_pass(s, weights, false, 1, threads, sums);
    for (int64_t i = 0; i < s.lanes; ++i) s.left[i] = 1.0;
  } else {
    s.products = 2;
    sweep(weights, s.extra, nullptr, p.extras, s.lanes, known_of(s), sums, sums);
  }
  parallel_run(threads, s.depth / kColumns, pull_features, &s);
  parallel_run(threads, p.batch, reduce_sample, &s);
  parallel_run(threads, s.others_rows / kRows, pull_others, &s);
}

// By task: a panel of samples for the logits, or rows of the other columns or of the samples.
void pack(void* context, int64_t task, int) {
  const Stream& s = *static_cast<Stream*>(context);
  const Neighborhood<Number>& p = s.problem;
  const int64_t panels = ceil_div(s.lanes, kColumns), first = task * kColumns;
  if (task == panels) {
    const int64_t given = p.own < 0 ? p.extras : p.own, end = s.others_rows - given;
    unpack_as<Plain<Number>>(p.others, p.width, p.width, given, p.own < 0 ? s.others_rows : given,
                             s.others_rows, s.others, nullptr);
    if (p.own < 0) return;
    unpack_as<Plain<Number>>(p.features, p.width, p.width, p.batch, end, s.others_rows,
                             s.others + given * kStep, nullptr);
    return;
  }
  if (task > panels) {
    unpack_as<Plain<Number>>(p.features, p.width, p.width, p.batch, s.samples_rows, s.samples_rows,
                             s.samples, nullptr);
    return;
  }
  const int64_t columns = smaller(kColumns, s.lanes - first);
  const int64_t real = smaller(columns, p.batch - first);
  Number* to = s.packed + first * p.width;
  for (int64_t k = 0; k < p.width; ++k, to += columns) {
    const Number* from = p.features + first * p.width + k;
    for (int64_t i = 0; i < real; ++i) to[i] = from[i * p.width] * p.inv_temperature;
    for (int64_t i = real; i < columns; ++i) to[i] = 0;
  }
}

int64_t entropy(const Neighborhood<Number>& p, int threads) {
  const bool grad = p.grad_features != nullptr;
  Stream s{.problem = p,
           .lanes = ceil_div(p.batch, kLanes) * kLanes,
           .depth = ceil_div(p.width, kColumns) * kColumns};
  const int64_t fit =
      larger(kLeastRows, smaller(kMostRows, kChunkBytes / kNumberBytes / (s.depth + 2 * s.lanes)));
  s.chunk_rows = ceil_div(smaller(fit, p.size), kRows) * kRows;
  s.chunks = ceil_div(p.size, s.chunk_rows);
  const int64_t few = ceil_div(p.batch, kFewRows) * kFewRows;
  const int64_t many = ceil_div(p.batch, kRows) * kRows;
  s.tile_rows = many <= few ? kRows : kFewRows;
  s.tile_batch = smaller(many, few);
  const int64_t kept = s.chunks * s.chunk_rows * s.lanes;
  const bool keep = (grad || p.eps != 0) && kept * kNumberBytes <= kWorkspaceBytes;
  const int64_t gradient = grad ? (keep ? 1 : 2) * s.tile_batch * s.depth : 0;
  Number *sums = nullptr, *refused = nullptr;
  const int64_t wanted = kSlotBytes / larger(1, gradient * kNumberBytes);
  s.slots = smaller(s.chunks, larger(kLeastSlots, smaller(kMostSlots, wanted)));

  s.others_rows = ceil_div(p.extras, kRows) * kRows;
  s.samples_rows = ceil_div(p.batch, kRows) * kRows;
  Number** const parts[] = {&s.packed,    &s.workspace, &s.rows,   &s.scratch,
                            &s.gradients, &sums,        &s.known,  &s.others,
                            &s.samples,   &s.extra,     &s.nearby, &refused};
  // a tile of samples may read past the last lane
  const int64_t sizes[] = {s.lanes * p.width,
                           keep ? kept + kRows : 0,
                           threads * row_numbers(s.depth, s.chunk_rows),
                           threads * 2 * s.chunk_rows * s.lanes + kRows,
                           s.slots * gradient,
                           kLong * (s.slots * 2 + 4) * s.lanes,
                           4 * s.lanes,
                           row_numbers(s.depth, s.others_rows),
                           grad ? row_numbers(s.depth, s.samples_rows) : 0,
                           s.others_rows * s.lanes + kRows,
                           grad ? s.tile_batch * s.depth : 0,
                           kLong * s.slots};
  constexpr int kParts = sizeof(sizes) / sizeof(sizes[0]);
  int64_t total = 0;
  for (int i = 0; i < kParts; ++i) total += ceil_div(sizes[i], 16) * 16;
  Number* const arena = allocate_pages(total);
  if (arena == nullptr) return kNoMemory;
  Number* next = arena;
  for (int i = 0; i < kParts; ++i) {
    *parts[i] = sizes[i] > 0 ? next : nullptr;
    next += ceil_div(sizes[i], 16) * 16;
  }
  s.sums = reinterpret_cast<double*>(sums);
  s.refused = reinterpret_cast<int64_t*>(refused);
  for (int64_t slot = 0; slot < s.slots; ++slot) s.refused[slot] = kDone;
  parallel_run(threads, ceil_div(s.lanes, kColumns) + 1 + grad, pack, &s);
  double* totals = s.sums + s.slots * 2 * s.lanes;
  s.left = totals + 2 * s.lanes, s.right = s.left + s.lanes;
  solve(s, totals, threads);
  int64_t result = kDone;
  for (int64_t slot = s.slots - 1; slot >= 0; --slot) {
    if (s.refused[slot] != kDone) result = s.refused[slot];
  }
  free(arena);
  return result;
}

}  // namespace

int64_t neighborhood_entropy(const Neighborhood<Number>& problem, int threads) {
  return entropy(problem, threads);
}

}  // namespace fastbrain::FASTBRAIN_NAMESPACE
