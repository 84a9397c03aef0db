// Adapted linear layer for the few rows of a decoding step.
#pragma once

#include <cstdint>

#include "isa.h"

namespace fastbrain {

enum class LoraActivation { kNone, kGelu, kSilu, kRelu };

// All contiguous, and float32 or bfloat16 alike.
struct LoraRows {
  const void* x;       // (rows, d_in)
  const void* weight;  // (d_out, d_in)
  const void* bias;    // (d_out), or nullptr
  const void* a;       // (rank, d_in)
  const void* b;       // (d_out, rank)
  void* out;           // (rows, d_out)
  bool bfloat16;
  std::int64_t rows, d_in, d_out, rank;
  LoraActivation activation;
  float scale;
};

struct Lora {
  // out = x W^T + bias + scale · act(x A^T) B^T; false if memory ran out.
  bool (*few)(const LoraRows& rows, int threads);
};

const Lora& lora(Isa isa, const LoraRows& rows);

namespace baseline {
extern const Lora lora;
}
namespace avx2 {
extern const Lora lora;
}
namespace avx512 {
extern const Lora lora;
}
namespace avx512bf16 {
extern const Lora lora;
}
namespace avx512amx {
// For bfloat16 with d_in and d_out in multiples of kLoraTile.
extern const Lora lora_tiles;
}  // namespace avx512amx

constexpr std::int64_t kLoraTile = 32;
// Fewer rows leave most of a tile empty.
constexpr std::int64_t kLeastTileRows = 4;

constexpr int kMostLoraRows = 16, kHighestLoraRank = 64;

// One launch on a GPU; addresses are the device's, all tensors contiguous and of one type.
struct LoraLaunch {
  const void* x;       // (rows, d_in)
  const void* weight;  // (d_out, d_in)
  const void* bias;    // (d_out), or nullptr
  const void* a;       // (rank, d_in)
  const void* b;       // (d_out, rank)
  void* out;           // (rows, d_out)
  int rows, d_in, d_out, rank;
  int activation;  // a LoraActivation
  float scale;
};

// The type is a DType; throws std::runtime_error if the driver refuses.
void lora_decode_cuda(const LoraLaunch& launch, int type, void* stream);

}  // namespace fastbrain
