"""Checks every candidate of the Triton kernels on the cases that offer it, in the interpreter.

``candidates_of.py FAMILY CASE,CASE`` prints a line for each candidate, once in float32 and once in
half precision: kernel, its name, whether the case passed with it. It needs ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module


def main(family: str, names: str) -> None:
    """Print what became of each candidate."""
    import torch

    from fastbrain.kernels import tables
    from fastbrain.ops._cases.neighborhood import clustering
    from fastbrain.ops._selftest import check, units

    torch.set_num_threads(1)
    wanted = names.split(",")
    every = import_module(f"fastbrain.ops._cases.{family}").CASES
    cases = [case for case in every if case.name in wanted]
    assert {case.name for case in cases} == set(wanted)
    # more than one tile of every candidate in each direction, with a rest, in a sixth of the time
    smaller = {"dance-wide": clustering(70, 7, 301, 300, "dance")}
    cases = [replace(case, build=smaller.get(case.name, case.build)) for case in cases]
    seen = set()
    for unit in units(["triton"], device="cpu", cases=cases):
        with tables.asked() as log:
            unit.case.outcome(unit.case.inputs(dtype=unit.dtype, device="cpu"), backend="triton")
        for question in log:
            for candidate in question.candidates:
                what = question.kernel, candidate.name
                key = *what, unit.dtype == torch.float32, unit.case.name
                if key in seen:
                    continue
                seen.add(key)
                with tables.forced(*what, question.shape):
                    good, error = check(unit.case, "triton", unit.dtype, "cpu")
                print(*what, good, unit.case.id, unit.dtype, error)


if __name__ == "__main__":
    main(*sys.argv[1:])
