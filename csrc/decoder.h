// One step of a decoder-only language model on the CPU: a token for each of a few rows, over a
// static cache of keys and values. All activations are float32.
#pragma once

#include <cstdint>

#include "isa.h"

namespace fastbrain {

enum class DecoderWeight { kFloat32, kBfloat16, kInt8 };
enum class DecoderActivation { kNone, kGelu, kSilu, kRelu, kGeluTanh };

// y = x W^T + bias + scale · act(x A^T) B^T, without the branch if its rank is 0. A layer that the
// model does not have has no weight. All contiguous.
struct DecoderLinear {
  const void* weight;      // (d_out, d_in)
  const float* row_scale;  // (d_out): factor of the rows of int8 weights, or nullptr
  const float* bias;       // (d_out), or nullptr
  const float* a;          // (rank, d_in)
  const float* b;          // (d_out, rank)
  std::int64_t d_in, d_out, rank;
  DecoderWeight type;
  DecoderActivation activation;
  float scale;
};

// RMS norm, or layer norm if there is a bias. A norm that the model does not have has no weight.
struct DecoderNorm {
  const float* weight;
  const float* bias;
  float eps;
};

struct DecoderLayer {
  DecoderNorm before_attention, q_norm, k_norm, after_attention, before_mlp, after_mlp;
  DecoderLinear q, k, v, out, gate, up, down;
  const float* cosines;  // (positions, head_width), or nullptr
  const float* sines;
  float scale;
  std::int64_t window;  // positions that a token attends to, itself included; 0 for all
};

struct DecoderModel {
  const DecoderLayer* layers;
  std::int64_t depth, width, heads, key_heads, head_width, hidden;
  const float* positions;  // (positions, width) added to the embeddings, or nullptr
  DecoderNorm norm;
  DecoderLinear head;
  DecoderActivation activation;
  float attention_cap, logit_cap;  // 0 for none
};

struct DecoderStep {
  const float* embeds;         // (rows, width)
  const std::int64_t* rows;    // (rows): row of the cache
  const std::int64_t* places;  // (rows): position of the new token, below length
  float* keys;                 // (depth, cache_rows, key_heads, length, head_width)
  float* values;
  float* logits;  // (rows, vocabulary)
  std::int64_t count, cache_rows, length;
};

struct Decoder {
  // What a row gets does not depend on the other rows. False if memory ran out.
  bool (*step)(const DecoderModel& model, const DecoderStep& step, int threads);
  // The likeliest token of a row that is not one of `never`; -1 if a number is NaN or plus
  // infinity, or if no allowed one is finite.
  std::int64_t (*pick)(const float* logits, std::int64_t vocabulary, const std::int64_t* never,
                       std::int64_t count);
};

const Decoder& decoder(Isa isa);

namespace baseline {
extern const Decoder decoder;
}
namespace avx2 {
extern const Decoder decoder;
}
namespace avx512 {
extern const Decoder decoder;
}

}  // namespace fastbrain
