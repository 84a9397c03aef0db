"""C++ backend of the nearest-code lookup and of the sums of a codebook update.

The operators are opaque to torch.compile: they have a fake implementation for shapes. Indices have
no gradient, so no backward pass is defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ... import _native
from .._tensors import DTYPES, address, contiguous
from .codebook import LookupProblem
from .state import UpdateProblem

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define("vq_pack_cpu(Tensor codebook, bool euclidean) -> Tensor")
_library.define(
    "vq_lookup_cpu(Tensor x, Tensor? mask, Tensor codes, bool euclidean, SymInt count) -> Tensor"
)
_library.define(
    "vq_update_cpu(Tensor x, Tensor indices, Tensor? mask, SymInt count) -> (Tensor, Tensor)"
)


def can_run(problem: LookupProblem) -> str | None:
    """Return None, or the reason why the C++ kernel cannot run the checked lookup."""
    if len(problem.codebook) >= 1 << 31:
        return f"the codebook holds {len(problem.codebook)} codes; it counts them in 32 bits"
    return _can_read(problem.x)


def call(problem: LookupProblem) -> Tensor:
    """Return the index of the nearest code, on the CPU."""
    x, codebook, metric, mask, packed = problem
    codes = codebook.detach() if packed is None or packed.panels is None else packed.panels
    x = x.detach() if x.requires_grad else x
    return _lookup(x, mask, codes, metric == "euclidean", codebook.shape[0])


def indices_of(x: Tensor) -> Tensor:
    """Make the tensor for the indices of rows (..., D)."""
    lead = x.shape[:-1]
    # sizes one by one: a tuple of them takes longer than a small codebook
    return x.new_empty(*lead, dtype=torch.int64) if lead else x.new_empty((), dtype=torch.int64)


def digest(codes: Tensor) -> int:
    """Return a 64-bit digest of contiguous codes; others share it with a chance of about 2⁻⁶⁴."""
    return _native.vq_digest(
        bytes=codes.data_ptr(),
        count=codes.numel() * codes.element_size(),
        threads=torch.get_num_threads(),
    )


def packed_numbers(codes: Tensor) -> int:
    """Return the length of the packed codes."""
    return _entry("vq_packed_numbers", _precision(codes))(*codes.shape)


def pack(codebook: Tensor, metric: str) -> Tensor:
    """Pack the codes into the layouts that the kernel reads."""
    return torch.ops.fastbrain.vq_pack_cpu(codebook, metric == "euclidean")


def can_sum(problem: UpdateProblem) -> str | None:
    """Return None, or the reason why the C++ kernel cannot run the checked update."""
    return _can_read(problem.x)


def sums(problem: UpdateProblem) -> tuple[Tensor, Tensor]:
    """Count the rows of each code, (C,) int64, and add them up, (C, D) at least float32."""
    x, count = problem.x.detach(), len(problem.state.codebook)
    return torch.ops.fastbrain.vq_update_cpu(x, problem.indices, problem.mask, count)


def _can_read(x: Tensor) -> str | None:
    return None if x.device.type == "cpu" else f"the tensors are on {x.device}"


def unit(rows: Tensor) -> Tensor:
    """Normalise rows (N, D) to length one without overflow or underflow; zero rows stay zero."""
    # scale by a power of two first, so that squares neither overflow nor underflow
    power = -rows.abs().amax(dim=1, keepdim=True).frexp().exponent
    rows = rows * power.to(rows.dtype).clamp(max=1000).exp2()
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1.0)


def _precision(*tensors: Tensor) -> torch.dtype:
    """Return the precision of the computation: float64 if any tensor is float64."""
    return torch.float64 if torch.float64 in [t.dtype for t in tensors] else torch.float32


def _entry(name: str, precision: torch.dtype) -> Callable[..., Any]:
    """Return the kernel of this name for this precision."""
    return getattr(_native, name if precision == torch.float32 else f"{name}_double")


def _pack(codebook: Tensor, euclidean: bool) -> Tensor:
    codes = codebook.contiguous()
    out = _fake_pack(codes, euclidean)
    _entry("vq_pack", out.dtype)(
        codes=address(codes),
        type=DTYPES[codes.dtype],
        euclidean=euclidean,
        count=codes.shape[0],
        width=codes.shape[1],
        out=address(out),
        threads=torch.get_num_threads(),
    )
    return out


def _nearest(x: Tensor, mask: Tensor | None, codes: Tensor, euclidean: bool, count: int) -> Tensor:
    # a packed codebook has one axis
    packed = codes.dim() == 1
    x, mask, codes = contiguous(x, mask, codes)
    out = indices_of(x)
    # by position: names take as long as a small codebook
    _entry("vq_lookup", codes.dtype if packed else _precision(x, codes))(
        x.data_ptr(), DTYPES[x.dtype], address(mask), out.numel(), codes.data_ptr(),
        DTYPES[codes.dtype], packed, euclidean, count, x.shape[-1], out.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def _sums(x: Tensor, indices: Tensor, mask: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    x, indices, mask = contiguous(x, indices, mask)
    counts, total = _fake_sums(x, indices, mask, count)
    _entry("vq_sums", total.dtype)(
        rows=address(x),
        type=DTYPES[x.dtype],
        mask=address(mask),
        count=indices.numel(),
        width=x.shape[-1],
        indices=address(indices),
        codes=count,
        counts=address(counts),
        sums=address(total),
        threads=torch.get_num_threads(),
    )
    return counts, total


def _fake_pack(codebook: Tensor, euclidean: bool) -> Tensor:
    precision = _precision(codebook)
    numbers = _entry("vq_packed_numbers", precision)(*codebook.shape)
    return codebook.new_empty(numbers, dtype=precision)


def _fake_nearest(x: Tensor, *_: Any) -> Tensor:
    return indices_of(x)


def _fake_sums(
    x: Tensor, indices: Tensor, mask: Tensor | None, count: int
) -> tuple[Tensor, Tensor]:
    return (
        x.new_empty(count, dtype=torch.int64),
        x.new_empty(count, x.shape[-1], dtype=_precision(x)),
    )


_library.impl("vq_pack_cpu", _pack, "CPU")
_library.impl("vq_lookup_cpu", _nearest, "CPU")
_library.impl("vq_update_cpu", _sums, "CPU")
torch.library.register_fake("fastbrain::vq_pack_cpu", _fake_pack, lib=_library)
torch.library.register_fake("fastbrain::vq_lookup_cpu", _fake_nearest, lib=_library)
torch.library.register_fake("fastbrain::vq_update_cpu", _fake_sums, lib=_library)

# resolved once: for one row the lookup of the overload would take noticeable time
_lookup = torch.ops.fastbrain.vq_lookup_cpu.default
