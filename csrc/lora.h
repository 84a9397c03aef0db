// Adapted linear layer for the few rows of a decoding step, on a GPU.
#pragma once

namespace fastbrain {

constexpr int kMostLoraRows = 16, kHighestLoraRank = 64;

// One launch; addresses are the device's, all tensors contiguous and of one type.
struct LoraLaunch {
  const void* x;       // (rows, d_in)
  const void* weight;  // (d_out, d_in)
  const void* bias;    // (d_out), or nullptr
  const void* a;       // (rank, d_in)
  const void* b;       // (d_out, rank)
  void* out;           // (rows, d_out)
  int rows, d_in, d_out, rank;
  int activation;  // 0 none, 1 gelu, 2 silu, 3 relu
  float scale;
};

// The type is numbered as in launch.cuh; throws std::runtime_error if the driver refuses.
void lora_decode_cuda(const LoraLaunch& launch, int type, void* stream);

}  // namespace fastbrain
