// A digest of the bytes of a codebook at the speed of memory, to recognise an unchanged one.
// Included after tile.h by vq.cpp, inside the namespace of an instruction set.
//
// Each of several 64-bit states takes in one word after another by state = rotate(state ^ word) ·
// odd, a bijection of the state for any word and of the word for any state: a change within one
// word always changes the digest, and any other change does, except with a probability of 2^-64.

constexpr uint64_t kOdd = 0x9e3779b97f4a7c15u;  // 2^64 over the golden ratio
constexpr int kTurn = 29;
constexpr int64_t kPart = 128 << 10;
constexpr int kStates = 8;

typedef uint64_t Words __attribute__((vector_size(kVectorBytes)));

struct Digest {
  const char* bytes;
  int64_t count;
  uint64_t* parts;
};

static inline uint64_t fold(uint64_t state, uint64_t word) {
  state ^= word;
  return (state << kTurn | state >> (64 - kTurn)) * kOdd;
}

void digest_part(void* context, int64_t task, int) {
  const Digest& d = *static_cast<Digest*>(context);
  constexpr int64_t kStride = kStates * kVectorBytes;
  const char* from = d.bytes + task * kPart;
  const int64_t count = smaller(kPart, d.count - task * kPart);
  Words state[kStates];
#pragma GCC unroll 8
  for (int i = 0; i < kStates; ++i) state[i] = Words{} + kOdd * static_cast<uint64_t>(i + 1);
  alignas(64) char rest[kStride];
  for (int64_t at = 0; at < count; at += kStride) {
    const char* values = from + at;
    if (count - at < kStride) {
      for (int64_t i = 0; i < kStride; ++i) rest[i] = at + i < count ? values[i] : char{0};
      values = rest;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kStates; ++i) {
      Words word;
      __builtin_memcpy(&word, values + i * kVectorBytes, sizeof(word));
      word ^= state[i];
      state[i] = (word << kTurn | word >> (64 - kTurn)) * kOdd;
    }
  }
  uint64_t all = static_cast<uint64_t>(count);
  for (int i = 0; i < kStates; ++i) {
    for (int j = 0; j < kVectorBytes / 8; ++j) all = fold(all, state[i][j]);
  }
  d.parts[task] = all;
}

// `parts` has room for ceil(count / kPart) words.
uint64_t digest(const void* bytes, int64_t count, uint64_t* parts, int threads) {
  Digest d{static_cast<const char*>(bytes), count, parts};
  const int64_t tasks = ceil_div(count, kPart);
  parallel_run(threads, tasks, digest_part, &d);
  uint64_t all = 0;
  for (int64_t i = 0; i < tasks; ++i) all = fold(all, parts[i]);
  return all;
}
