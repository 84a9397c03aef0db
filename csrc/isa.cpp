#include "isa.h"

#include <cstdlib>
#include <stdexcept>

#ifdef FASTBRAIN_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastbrain {

namespace {

// Linux gives a process the registers of tiles only when asked.
bool may_use_tiles() {
#if defined(FASTBRAIN_TILES) && defined(SYS_arch_prctl)
  constexpr long kRequest = 0x1023, kTileData = 18;
  return has_bfloat16_tiles() && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Amx:
      return "avx512amx";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    default:
      return "baseline";
  }
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas{Isa::kBaseline};
#ifdef FASTBRAIN_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    isas.push_back(Isa::kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      isas.push_back(Isa::kAvx512);
      if (__builtin_cpu_supports("avx512vnni")) {
        isas.push_back(Isa::kAvx512Vnni);
        if (__builtin_cpu_supports("avx512bf16")) {
          isas.push_back(Isa::kAvx512Bf16);
          if (may_use_tiles()) isas.push_back(Isa::kAvx512Amx);
        }
      }
    }
  }
#endif
  return isas;
}

bool has_bfloat16_tiles() {
#ifdef FASTBRAIN_X86
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kSavesState = 1u << 27, kTiles = 1u << 24 | 1u << 22, kTileState = 3u << 17;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kSavesState)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTiles) != kTiles) return false;
  // xgetbv: what state the system saves when it switches threads
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (a & kTileState) == kTileState;
#else
  return false;
#endif
}

Isa choose_isa() {
  const std::vector<Isa> isas = available_isas();
  const char* wanted = std::getenv("FASTBRAIN_ISA");
  if (wanted == nullptr || *wanted == '\0') return isas.back();
  std::string names;
  for (Isa isa : isas) {
    if (std::string(wanted) == isa_name(isa)) return isa;
    names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  throw std::runtime_error("FASTBRAIN_ISA must be one of " + names + " on this machine, got '" +
                           wanted + "'.");
}

}  // namespace fastbrain
