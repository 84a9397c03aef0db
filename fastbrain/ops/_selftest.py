"""Self-test: compare every case on every backend with a float64 reference result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from . import _dispatch
from ._cases import Call, Case, all_cases

# A backend may have SLACK times the error of the reference in the same precision. Below the floor
# both errors are rounding noise: another order of summation changes some units of the last place.
SLACK = 1.25
FLOOR_UNITS = 16
# A GPU adds the terms of a float32 product one after the other, and the rounding of such a sum
# grows with the root of their number (Higham 2002, Accuracy and Stability, sec. 4.2): seven
# standard deviations. Errors of an H200 are those of such sums in emulation to 3 %.
SUM_UNITS = 2
# ops made of several products in sequence, each of which rounds: factor on their floor
CHAIN = {"lora_attention": 3}
# share of elements that must be within the bound, and limits of the relative L2 error
SHARE = 0.9999
RELATIVE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


@dataclass(frozen=True)
class Row:
    """Result of one case; `error` is the relative L2 distance from the float64 result."""

    op: str
    case: str
    backend: str
    dtype: str
    device: str
    error: float
    passed: bool
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Unit:
    """One case on one backend, in one precision and on one device."""

    case: Case
    backend: str
    dtype: torch.dtype
    device: str


def agrees(
    got: Tensor,
    reference: Tensor,
    truth: Tensor,
    dtype: torch.dtype,
    *,
    chain: int = 1,
    condition: float = 1.0,
    terms: int = 0,
) -> tuple[bool, float]:
    """Return whether `got` is about as accurate as the reference, and its relative L2 error.

    Parameters
    ----------
    got, reference, truth : Tensor
        Result of the backend, of the reference in the same precision, and of the reference in
        float64.
    dtype : torch.dtype
        Working precision, which determines the floor.
    chain : int
        Number of roundings in sequence.
    condition : float
        How much the op amplifies rounding; it raises the floor.
    terms : int
        Length of the longest sum that is added in sequence; 0 if sums are added in blocks.
    """
    if not truth.is_floating_point():
        same = torch.equal(got.cpu(), truth.cpu())
        return same, 0.0 if same else 1.0
    if truth.numel() == 0:
        return got.shape == truth.shape, 0.0
    wanted = truth.detach().cpu()
    error = (got.detach().cpu().double() - wanted).abs()
    allowed = (reference.detach().cpu().double() - wanted).abs()
    size = float(wanted.square().mean().sqrt())
    units = FLOOR_UNITS + SUM_UNITS * terms**0.5
    floor = units * chain * condition * torch.finfo(dtype).eps
    if dtype == torch.float64:
        # the float64 reference has the same rounding error as the result
        floor = RELATIVE[dtype]
    bound = SLACK * allowed + floor * max(size, 1e-30)
    relative = float(error.norm()) / max(float(wanted.norm()), 1e-30)
    limit = max(
        chain * RELATIVE[dtype], SLACK * float(allowed.norm()) / max(float(wanted.norm()), 1e-30)
    )
    inside = float((error <= bound).double().mean()) >= SHARE
    return inside and relative <= limit, relative


def check(case: Case, backend: str, dtype: torch.dtype, device: str) -> tuple[bool, float]:
    """Compare all outputs and gradients of one case on one backend with the float64 result."""
    exact = case.inputs(dtype=dtype, device=device, truth=True)
    truth = case.outcome(exact, backend="reference")
    plain = case.outcome(case.inputs(dtype=dtype, device=device), backend="reference")
    got = case.outcome(case.inputs(dtype=dtype, device=device), backend=backend)
    if case.same is not None:
        good = all(case.same(exact, g, t) for g, t in zip(got, truth, strict=True))
        return good, 0.0 if good else 1.0
    chain = CHAIN.get(case.op, 1)
    in_sequence = dtype == torch.float32 and torch.device(device).type == "cuda"
    terms = longest_sum(exact) if in_sequence else 0
    verdicts = [
        agrees(g, p, t, dtype, chain=chain, condition=case.condition, terms=terms)
        for g, p, t in zip(got, plain, truth, strict=True)
    ]
    return all(ok for ok, _ in verdicts), max(error for _, error in verdicts)


def longest_sum(call: Call) -> int:
    """Return how many terms the sums of a call have at most: those over a side of a matrix."""
    most = 0
    for value in call.args:
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            # a tensor of more axes is a matrix of its first or of its last axis and the others
            sides = [(n, value.numel() // n) for n in (value.shape[0], value.shape[-1])]
            most = max(most, min(max(side) for side in sides))
    return most


def run_selftest(
    backends: Sequence[str] | None = None,
    *,
    device: str | None = None,
    cases: Sequence[Case] | None = None,
) -> Iterator[Row]:
    """Run every case on every backend that supports it.

    Parameters
    ----------
    backends : sequence of str, optional
        Default: all.
    device : str, optional
        Default: the CPU and, if available, the GPU.
    cases : sequence of Case, optional
        Default: all.

    Yields
    ------
    Row
        One for each op, case, precision and backend that can run it, as soon as it is available.
    """
    return (judge(unit) for unit in units(backends, device=device, cases=cases))


def units(
    backends: Sequence[str] | None = None,
    *,
    device: str | None = None,
    cases: Sequence[Case] | None = None,
) -> Iterator[Unit]:
    """Yield the units that :func:`run_selftest` runs for the same arguments, in the same order."""
    devices = [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for case in all_cases() if cases is None else cases:
        for place in devices:
            for dtype in case.dtypes:
                call = case.inputs(dtype=dtype, device=place)
                explained = _dispatch.explain(case.op, *call.args, **call.options)
                for backend, reason in explained.rows:
                    if reason is not None or (backends is not None and backend not in backends):
                        continue
                    yield Unit(case, backend, dtype, place)


def judge(unit: Unit) -> Row:
    """Run one unit; an exception makes it fail and becomes its note."""
    case, backend, dtype, device = unit.case, unit.backend, unit.dtype, unit.device
    start = perf_counter()
    note = ""
    try:
        passed, error = check(case, backend, dtype, device)
    except Exception as failure:
        # a crash of one case is reported as a FAIL of that case, with the reason
        passed, error, note = False, float("nan"), f"{type(failure).__name__}: {failure}"
    name = str(dtype).removeprefix("torch.")
    seconds = perf_counter() - start
    return Row(case.op, case.name, backend, name, device, error, passed, seconds, note)
