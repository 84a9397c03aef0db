"""Facts about a compiled Triton kernel: what it keeps where, and how many instructions it has."""

from __future__ import annotations

import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from assembler import in_local_memory, serialised

# block size that is the M of a kernel's products; the M of an instruction of a warpgroup is 64
M_OF = {
    "vq_lookup_fwd_kernel": "BM",
    "lora_linear_wide_kernel": "BM",
    "lora_linear_persistent_kernel": "BM",
    "lora_linear_ring_kernel": "BM",
    "lora_linear_narrow_kernel": "BM",
    "tokenize_voxels_fwd_kernel": "BM",
    "tokenize_voxels_resident_kernel": "BM",
    "tokenize_voxels_bwd_kernel": "BD",
    "neighborhood_clustering_fwd_kernel": "BB",
    "neighborhood_clustering_bwd_kernel": "BB",
}
WARPGROUP_M = 64
# shared memory of one block, bytes (CUDA programming guide, technical specifications)
SHARED = {80: 166_912, 90: 232_448, 100: 232_448, 120: 101_376}
# kinds of tensor-core instructions in PTX, with the shape of one
MMA = re.compile(
    r"(wgmma)\.mma_async\.sync\.aligned\.(m\w+)|(mma)\.sync\.aligned\.(m\w+)|(tcgen05)"
)


@dataclass(frozen=True)
class Facts:
    """A kernel for one architecture.

    Parameters
    ----------
    kernel, tile : str
        Name, and its blocks, warps and stages.
    registers, shared, instructions : int
        For each thread; bytes for each block; of the machine code.
    mma : str
        Instruction with the largest shape, such as ``wgmma m64n128k16``; empty if it has none.
    local, serialised : tuple of str
        What the assembler says of local memory and of serialised products.
    """

    kernel: str
    tile: str
    registers: int
    shared: int
    instructions: int
    mma: str
    local: tuple[str, ...] = ()
    serialised: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """What is recorded of it."""
        held = asdict(self)
        return {name: value for name, value in held.items() if value != ()}


def facts(launch: SimpleNamespace, folder: Path) -> Facts:
    """Compile a recorded launch and read its assembler's log and machine code."""
    compiled = launch.compiled()
    ptx = compiled.asm["ptx"]
    log, cubin = assembled(ptx, folder)
    from triton import knobs

    command = [knobs.nvidia.nvdisasm.path, "-c", cubin]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Facts(
        launch.kernel,
        tile_of(launch.options),
        int(re.search(r"Used (\d+) registers", log)[1]),
        compiled.metadata.shared,
        len(re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+\S", code, re.MULTILINE)),
        mma_of(ptx),
        tuple(in_local_memory(log)),
        tuple(serialised(log)),
    )


def faults(found: Facts, launch: SimpleNamespace, arch: int, *, pinned: bool) -> list[str]:
    """What must not be in a binary; registers only for the compiler that the tiles suit."""
    wrong = list(found.serialised)
    if found.shared > SHARED[arch]:
        wrong.append(f"{found.shared} bytes of shared memory, there are {SHARED[arch]}")
    if pinned:
        wrong += found.local
        block = launch.options.get(M_OF.get(found.kernel, ""), 0)
        if arch == 90 and found.mma and block >= WARPGROUP_M and "wgmma" not in found.mma:
            wrong.append(f"{found.mma} in place of wgmma for {block} rows")
    return [f"{found.kernel} ({found.tile}) on sm_{arch}: {what}" for what in wrong]


def mma_of(ptx: str) -> str:
    """Tensor-core instruction of the largest shape in the PTX of a kernel."""
    found = {" ".join(part for part in match if part) for match in MMA.findall(ptx)}
    return max(found, key=_size, default="")


def _size(instruction: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", instruction.partition(" ")[2]))


def tile_of(options: dict[str, Any]) -> str:
    """Blocks, warps and stages of a launch, such as ``BM 128 · BN 64 · 8 warps · 2 stages``."""
    blocks = [f"{name} {value}" for name, value in options.items() if re.fullmatch(r"B[A-Z]", name)]
    warps, stages = options.get("num_warps", 4), options.get("num_stages")
    return " · ".join([*blocks, f"{warps} warps", *([f"{stages} stages"] if stages else [])])


def assembled(ptx: str, folder: Path) -> tuple[str, Path]:
    """What the assembler says of a kernel (registers, stack, warnings), and its machine code."""
    from triton import knobs

    path, cubin = folder / "kernel.ptx", folder / "kernel.cubin"
    path.write_text(ptx)
    target = re.search(r"\.target (\w+)", ptx).group(1)
    # the newer of the two assemblers that triton brings reads the older PTX as well
    assembler = knobs.nvidia.ptxas_blackwell.path
    command = [assembler, "-v", f"--gpu-name={target}", path, "-o", cubin]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stderr, cubin
