// Which instruction set runs. Sources that differ by it are compiled once for each, into a
// namespace of their own, and hold no inline function of a shared header: the linker would keep a
// single copy, and an AVX-512 one would crash an older machine.
#pragma once

#include <string>
#include <vector>

namespace fastbrain {

// In rising order. kAvx512Vnni is kAvx512 with products of bytes, kAvx512Bf16 that with products of
// bfloat16 and kAvx512Amx that with products of their tiles, which some kernels use.
enum class Isa { kBaseline, kAvx2, kAvx512, kAvx512Vnni, kAvx512Bf16, kAvx512Amx };

const char* isa_name(Isa isa);

// What this machine runs, slowest first. Asks Linux for the tile registers of AMX, if there are
// any.
std::vector<Isa> available_isas();

// Whether this machine multiplies tiles of bfloat16 (AMX) and the system keeps their registers.
bool has_bfloat16_tiles();

// The best one, or what FASTBRAIN_ISA names; throws std::runtime_error if that cannot run here.
Isa choose_isa();

}  // namespace fastbrain
