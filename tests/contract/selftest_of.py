"""Runs a family's cases on one backend in a process of its own: ``selftest_of.py FAMILY BACKEND``.

``TRITON_INTERPRET=1`` lets Triton run on the CPU; a third argument is the extension whose CUDA
kernels run on host memory. Prints how many cases ran, then what failed; the first case of each op
is also compiled into one graph.
"""

from __future__ import annotations

import dataclasses
import sys
from importlib import import_module
from pathlib import Path


def main(family: str, backend: str, extension: str | None = None) -> None:
    """Print the count and the failures."""
    if extension is not None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "cuda_host"))
        from build import install

        install(Path(extension))
    import torch

    from fastbrain import ops
    from fastbrain.ops._selftest import run_selftest

    torch.set_num_threads(1)
    cases = import_module(f"fastbrain.ops._cases.{family}").CASES
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
        expected = case.outcome(case.inputs(), backend=backend)
        got = dataclasses.replace(case, function=function).outcome(case.inputs(), backend=backend)
        for a, b in zip(got, expected, strict=True):
            if not torch.equal(a, b):
                failed.append(f"{case.id}: compiled, it differs by {float((a - b).abs().max())}")
    print(len(rows), len(compiled), failed)


def _asks(case: object, backend: str, ops: object) -> bool:
    call = case.inputs()  # type: ignore[attr-defined]
    rows = dict(ops.explain(case.op, *call.args, **call.options).rows)  # type: ignore[attr-defined]
    return backend in rows and rows[backend] is None


if __name__ == "__main__":
    main(*sys.argv[1:])
