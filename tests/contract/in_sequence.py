"""Runs cases in float32 with products that add one term after the other, as a GPU does.

``in_sequence.py OP-CASE ...`` prints for each case its error on the tiles of Triton and whether it
agrees with the reference: by the bound of blocked sums, and by that of sums in sequence. It needs
``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

import numpy as np
import torch
from triton.runtime import interpreter

from fastbrain.kernels import tables
from fastbrain.ops._cases import all_cases
from fastbrain.ops._selftest import agrees, longest_sum


def in_sequence(self, a, b, total, *_):
    """Fused multiplications and additions of float32, in the order of the inner axis."""
    total = total.data.astype(np.float32)
    for left, right in zip(a.data.T.astype(np.float64), b.data.astype(np.float64), strict=True):
        total = (total + np.outer(left, right)).astype(np.float32)
    return interpreter.TensorHandle(total, interpreter.tl.float32)


def outcomes(case):
    """Results of Triton's tiles, of the reference, and of the reference in float64."""

    def of(backend, truth=False):
        return case.outcome(case.inputs(dtype=torch.float32, truth=truth), backend=backend)

    with tables.asked() as log:
        of("triton")
    with ExitStack() as stack:
        for question in {(q.kernel, q.shape): q for q in log}.values():
            tiles = [c.name for c in question.candidates if c.variant in ("tile", "wide")]
            if tiles:
                stack.enter_context(tables.forced(question.kernel, tiles[0], question.shape))
        return of("triton"), of("reference"), of("reference", truth=True)


interpreter.InterpreterBuilder.create_dot = in_sequence
torch.set_num_threads(1)
for case in all_cases():
    if case.id in sys.argv[1:]:
        found = list(zip(*outcomes(case), strict=True))
        terms = longest_sum(case.inputs(dtype=torch.float32))
        good = {n: all(agrees(*r, torch.float32, terms=n)[0] for r in found) for n in (0, terms)}
        error = max(agrees(*row, torch.float32)[1] for row in found)
        print(case.id, error, *good.values())
