"""Runs the cases of several families on one backend in a process of its own.

``selftest_of.py FAMILY,FAMILY BACKEND (first|others) [EXTENSION]`` runs the first case of each
operator in every precision, or all other cases in one precision each, which change from case to
case. ``TRITON_INTERPRET=1`` lets Triton run on the CPU; EXTENSION is a file
of CUDA kernels that run on host memory. It prints a line for each family: how many cases ran, how
many operators were checked, and what failed. The first cases are also compiled into one graph each,
and every operator that they call goes through ``opcheck``.
"""

from __future__ import annotations

import dataclasses
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# of a graph against plain calls: equal on torch 2.13; 2.10 fuses a product and a sum, 4.8e-7 seen
COMPILED = 1e-6


def main(families: str, backend: str, which: str, extension: str | None = None) -> None:
    """Print the counts and the failures."""
    if extension is not None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "cuda_host"))
        from build import install

        install(Path(extension))
    for family in families.split(","):
        run_family(family, backend, which)


def run_family(family: str, backend: str, which: str) -> None:
    """Print the counts and the failures of one family."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from fastbrain import ops
    from fastbrain.ops._cases._case import Case
    from fastbrain.ops._selftest import judge, units

    called = {}

    class Record(TorchDispatchMode):
        """Keep the arguments of the first call of each of our operators."""

        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            if op.namespace == "fastbrain":
                plain = [a.detach().clone() if isinstance(a, torch.Tensor) else a for a in args]
                called.setdefault(op, (plain, kwargs or {}))
            return op(*args, **(kwargs or {}))

    torch.set_num_threads(1)
    cases = import_module(f"fastbrain.ops._cases.{family}").CASES
    # both layouts of the tokenizer, one case of any other op
    first: dict[tuple[str, bool], Case] = {}
    for case in cases:
        if _asks(case, backend, ops):
            first.setdefault((case.op, case.name.startswith("packed")), case)
    chosen = [case for case in cases if (case in first.values()) == (which == "first")]
    found = list(units([backend], device="cpu", cases=chosen))
    rows = [judge(unit) for unit in (found if which == "first" else in_one_precision(found))]
    failed = [f"{row.op}-{row.case}: {row}" for row in rows if not row.passed]
    for case in first.values() if which == "first" else ():
        torch._dynamo.reset()
        function = torch.compile(case.function, fullgraph=True, backend="aot_eager")
        with Record():
            expected = case.outcome(case.inputs(), backend=backend)
        got = dataclasses.replace(case, function=function).outcome(case.inputs(), backend=backend)
        for a, b in zip(got, expected, strict=True):
            if not torch.allclose(a, b, rtol=COMPILED, atol=COMPILED):
                failed.append(f"{case.id}: compiled, it differs by {float((a - b).abs().max())}")
    for op, (args, kwargs) in called.items():
        results = torch.library.opcheck(op, tuple(args), kwargs, raise_exception=False)
        failed += [f"{op}: {k}: {v}" for k, v in results.items() if v != "SUCCESS"]
    print(family, len(rows), len(called), failed)


def in_one_precision(found: list[Any]) -> list[Any]:
    """One unit of each case; the precision changes from case to case."""
    by_case: dict[str, list[Any]] = {}
    for unit in found:
        by_case.setdefault(unit.case.id, []).append(unit)
    return [own[at % len(own)] for at, own in enumerate(by_case.values())]


def _asks(case: object, backend: str, ops: object) -> bool:
    call = case.inputs()  # type: ignore[attr-defined]
    rows = dict(ops.explain(case.op, *call.args, **call.options).rows)  # type: ignore[attr-defined]
    return backend in rows and rows[backend] is None


if __name__ == "__main__":
    main(*sys.argv[1:])
