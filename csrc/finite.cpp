#include "finite.h"

#include <atomic>

#include "parallel.h"

namespace fastbrain {

namespace {

// a few pages: enough to be worth a task, few enough for all threads to have some
constexpr std::int64_t kPart = 1 << 15;

struct Scan {
  const void* values;
  std::int64_t count;
  std::atomic<bool> finite{true};
};

// All bits of the exponent are set in NaN and infinity, and in nothing else.
template <typename Bits, Bits kExponent>
void scan(void* context, std::int64_t task, int) {
  Scan& s = *static_cast<Scan*>(context);
  const Bits* from = static_cast<const Bits*>(s.values) + task * kPart;
  const std::int64_t left = s.count - task * kPart;
  const std::int64_t count = left < kPart ? left : kPart;
  Bits largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Bits exponent = from[i] & kExponent;
    largest = exponent > largest ? exponent : largest;
  }
  if (largest == kExponent) s.finite.store(false, std::memory_order_relaxed);
}

}  // namespace

bool all_finite(const void* values, FloatType type, std::int64_t count, int threads) {
  Scan s{values, count};
  auto body = scan<std::uint32_t, 0x7f800000u>;
  if (type == FloatType::kFloat16) body = scan<std::uint16_t, 0x7c00>;
  if (type == FloatType::kBfloat16) body = scan<std::uint16_t, 0x7f80>;
  if (type == FloatType::kFloat64) body = scan<std::uint64_t, 0x7ff0000000000000u>;
  const std::int64_t tasks = (count + kPart - 1) / kPart;
  if (tasks <= 1) {
    if (tasks == 1) body(&s, 0, 0);
  } else {
    parallel_run(threads, tasks, body, &s);
  }
  return s.finite.load();
}

}  // namespace fastbrain
