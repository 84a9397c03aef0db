"""Which of the GPU backends looks up few rows."""

from __future__ import annotations

import pytest
import torch

from fastbrain.ops.vq import cuda
from fastbrain.ops.vq.codebook import LookupProblem

tables = pytest.importorskip("fastbrain.kernels.tables", reason="triton is not installed")


def test_up_to_eight_rows_are_for_cuda_unless_a_race_says_otherwise(monkeypatch):
    monkeypatch.setattr(cuda._cuda, "missing", lambda _: None)
    codes = torch.zeros(100, 16)
    one, eight, nine, most = (
        LookupProblem(torch.zeros(rows, 16), codes, "euclidean", None, None)
        for rows in (1, 8, 9, 64)
    )
    assert cuda.slower(one) is cuda.slower(eight) is None
    assert "Triton is faster for float32 9 to 64 rows" in cuda.slower(nine)
    assert "Triton is faster" in cuda.slower(most)
    assert cuda.can_run(most) is None
    assert "65 rows" in cuda.can_run(most._replace(x=torch.zeros(5, 13, 16)))
    with tables.forced("vq_backend", "triton", "float32 2 to 8 rows of 100 codes of 16"):
        assert "Triton is faster" in cuda.slower(eight)
        assert cuda.slower(one) is None
    with tables.forced("vq_backend", "cuda", "float32 9 to 64 rows of 100 codes of 16"):
        assert cuda.slower(nine) is None
