"""Runs a family's cases on one backend in a process of its own.

``selftest_of.py FAMILY BACKEND (first|all) [EXTENSION]`` runs the first case of each operator, or
all. ``TRITON_INTERPRET=1`` lets Triton run on the CPU; EXTENSION is a file of CUDA kernels that run
on host memory. It prints how many cases ran, how many operators were checked, and what failed: the
first case of each operator is also compiled into one graph, and every operator that it calls goes
through ``opcheck``.
"""

from __future__ import annotations

import dataclasses
import sys
from importlib import import_module
from pathlib import Path

# of a graph against plain calls: equal on torch 2.13; 2.10 fuses a product and a sum, 4.8e-7 seen
COMPILED = 1e-6


def main(family: str, backend: str, which: str, extension: str | None = None) -> None:
    """Print the count and the failures."""
    if extension is not None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "cuda_host"))
        from build import install

        install(Path(extension))
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from fastbrain import ops
    from fastbrain.ops._selftest import run_selftest

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
    if which == "first":
        asked: dict[tuple[str, bool], object] = {}
        for case in cases:
            if _asks(case, backend, ops):
                asked.setdefault((case.op, case.name.startswith("packed")), case)
        cases = tuple(asked.values())
    rows = list(run_selftest([backend], device="cpu", cases=cases))
    failed = [f"{row.op}-{row.case}: {row}" for row in rows if not row.passed]
    ran = {(row.op, row.case) for row in rows if row.dtype == "float32"}
    compiled = set()
    for case in cases:
        # both layouts of the tokenizer, one case of any other op
        kind = (case.op, case.name.startswith("packed"))
        if kind in compiled or (case.op, case.name) not in ran or not _asks(case, backend, ops):
            continue
        compiled.add(kind)
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
    print(len(rows), len(called), failed)


def _asks(case: object, backend: str, ops: object) -> bool:
    call = case.inputs()  # type: ignore[attr-defined]
    rows = dict(ops.explain(case.op, *call.args, **call.options).rows)  # type: ignore[attr-defined]
    return backend in rows and rows[backend] is None


if __name__ == "__main__":
    main(*sys.argv[1:])
