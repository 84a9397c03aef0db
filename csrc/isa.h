// Which instruction set runs. Sources that differ by it are compiled once for each, into a
// namespace of their own, and hold no inline function of a shared header: the linker would keep a
// single copy, and an AVX-512 one would crash an older machine.
#pragma once

#include <string>
#include <vector>

namespace fastbrain {

// In rising order. kAvx512Vnni is kAvx512 with products of bytes, which some kernels use.
enum class Isa { kBaseline, kAvx2, kAvx512, kAvx512Vnni };

const char* isa_name(Isa isa);

// What this machine runs, slowest first.
std::vector<Isa> available_isas();

// The best one, or what FASTBRAIN_ISA names; throws std::runtime_error if that cannot run here.
Isa choose_isa();

}  // namespace fastbrain
