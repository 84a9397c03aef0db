#include "finite.h"

#include <atomic>
#include <type_traits>

#include "parallel.h"

namespace fastbrain {

namespace {

// a few pages: enough work for a task, small enough to share among all threads
constexpr std::int64_t kPart = 1 << 15;

struct Scan {
  const void* values;
  std::int64_t count;
  std::uint64_t limit;
  std::atomic<bool> below{true};
};

// The exponent of a value lies in these bits, all of which are set in NaN and infinity alone. A
// larger exponent is a larger value, so it suffices to check the largest one.
template <typename Bits, Bits kExponent>
void scan(void* context, std::int64_t task, int) {
  Scan& s = *static_cast<Scan*>(context);
  if (!s.below.load(std::memory_order_relaxed)) return;
  const Bits* from = static_cast<const Bits*>(s.values) + task * kPart;
  const std::int64_t left = s.count - task * kPart;
  const std::int64_t count = left < kPart ? left : kPart;
  // signed, because the baseline instruction set compares no others; the sign bit is never set
  using Signed = std::make_signed_t<Bits>;
  Signed largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Signed exponent = static_cast<Signed>(from[i] & kExponent);
    largest = exponent > largest ? exponent : largest;
  }
  if (static_cast<Bits>(largest) >= s.limit) s.below.store(false, std::memory_order_relaxed);
}

struct Format {
  void (*body)(void* context, std::int64_t task, int);
  int fraction, bias;  // bits of the fraction, and what is added to the exponent
  std::uint64_t exponent;
};

Format format_of(DType type) {
  switch (type) {
    case DType::kFloat16:
      return {scan<std::uint16_t, 0x7c00>, 10, 15, 0x7c00};
    case DType::kBfloat16:
      return {scan<std::uint16_t, 0x7f80>, 7, 127, 0x7f80};
    case DType::kFloat64:
      return {scan<std::uint64_t, 0x7ff0000000000000u>, 52, 1023, 0x7ff0000000000000u};
    default:
      return {scan<std::uint32_t, 0x7f800000u>, 23, 127, 0x7f800000u};
  }
}

template <typename Number>
bool unit(const Number* values, std::int64_t rows, std::int64_t width, double tolerance) {
  const double low = (1 - tolerance) * (1 - tolerance), high = (1 + tolerance) * (1 + tolerance);
  for (std::int64_t row = 0; row < rows; ++row) {
    // sums of their own, which need not wait for each other
    constexpr int kSums = 8;
    Number sums[kSums] = {};
    std::int64_t k = 0;
    for (; k + kSums <= width; k += kSums) {
      for (int i = 0; i < kSums; ++i) sums[i] += values[k + i] * values[k + i];
    }
    for (; k < width; ++k) sums[0] += values[k] * values[k];
    double square = 0;
    for (const Number sum : sums) square += static_cast<double>(sum);
    if (!(square >= low && square <= high)) return false;
    values += width;
  }
  return true;
}

}  // namespace

bool all_below(const void* values, DType type, std::int64_t count, int power, int threads) {
  const Format format = format_of(type);
  const std::int64_t biased = static_cast<std::int64_t>(power) + format.bias;
  std::uint64_t limit = format.exponent;
  if (biased < static_cast<std::int64_t>(format.exponent >> format.fraction)) {
    limit = static_cast<std::uint64_t>(biased < 1 ? 1 : biased) << format.fraction;
  }
  Scan s{values, count, limit};
  const std::int64_t tasks = (count + kPart - 1) / kPart;
  if (tasks <= 1) {
    if (tasks == 1) format.body(&s, 0, 0);
  } else {
    parallel_run(threads, tasks, format.body, &s);
  }
  return s.below.load();
}

bool all_within(const std::int64_t* values, std::int64_t count, std::int64_t end) {
  bool within = true;
  for (std::int64_t i = 0; i < count; ++i) within &= values[i] >= 0 && values[i] < end;
  return within;
}

bool all_unit(const void* values, DType type, std::int64_t rows, std::int64_t width,
              double tolerance) {
  if (type == DType::kFloat64) {
    return unit(static_cast<const double*>(values), rows, width, tolerance);
  }
  return unit(static_cast<const float*>(values), rows, width, tolerance);
}

}  // namespace fastbrain
