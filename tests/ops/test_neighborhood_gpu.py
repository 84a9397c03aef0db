"""What can be known of the CUDA backend of neighbourhood clustering without a GPU: its choice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastbrain.kernels import tables
from fastbrain.ops import _cuda
from fastbrain.ops.neighborhood import cuda
from fastbrain.ops.neighborhood.checks import ClusteringProblem


@pytest.fixture
def problem(monkeypatch) -> ClusteringProblem:
    monkeypatch.setattr(_cuda, "missing", lambda _: None)
    features, prototypes, memory = (F.normalize(torch.ones(n, 16), dim=1) for n in (4, 3, 9))
    return ClusteringProblem(features, prototypes, memory, torch.arange(4), 0.05, "paper")


def test_small_pools_and_batches_are_for_the_cooperative_launch(problem):
    assert cuda.can_run(problem) is None
    for name, rows, most in (
        ("features", 65, "64"),
        ("memory", 20_001, "20000"),
        ("prototypes", 4097, "4096"),
    ):
        assert f"at most {most}" in cuda.can_run(problem._replace(**{name: torch.empty(rows, 16)}))
    assert "at most 2048" in cuda.can_run(problem._replace(features=torch.empty(4, 2049)))
    assert "float64" in cuda.can_run(problem._replace(memory=problem.memory.double()))
    assert "temperature" in cuda.can_run(problem._replace(temperature=1e-3))


def test_the_table_of_the_gpu_decides_between_cuda_and_triton(problem):
    with tables.asked() as log:
        assert cuda.slower(problem) is None
    [question] = log
    assert [candidate.name for candidate in question.candidates] == ["cuda", "triton"]
    with tables.forced(question.kernel, "triton", question.shape):
        assert "Triton is faster" in cuda.slower(problem)
        half = problem._replace(**{n: getattr(problem, n).half() for n in problem._fields[:3]})
        assert cuda.slower(half) is None


def test_the_operator_knows_its_shapes(problem):
    features, prototypes, memory, indices, *_ = (
        t.to("meta") if isinstance(t, torch.Tensor) else t for t in problem
    )
    operator = torch.ops.fastbrain.neighborhood_clustering_cuda
    value, grads = operator(features, prototypes, memory, indices, 0.05, 1e-5, True)
    assert value.shape == ()
    assert grads.shape == (7, 16)
    assert operator(features, prototypes, memory, indices, 0.05, 0.0, False)[1].shape == (0, 16)
