"""Choosing a backend, asking for one, and explaining the choice."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import fastbrain
from fastbrain.errors import BackendError, FastbrainError, InputError
from fastbrain.ops import _dispatch, backend, explain, lora_linear, vq_lookup

X, CODES = torch.randn(5, 3), torch.randn(7, 3)


def test_explanation_prints_one_line_for_each_backend():
    text = str(explain("vq_lookup", X, CODES))
    assert text.splitlines()[0] == "vq_lookup: cpu runs"
    assert [line.split()[-1] for line in text.splitlines()[1:]][-1] == "yes"
    assert all(name in text for name in _dispatch.NAMES)


def test_explain_is_public():
    assert fastbrain.explain("vq_lookup", X, CODES).chosen == "cpu"


def test_explain_refuses_what_the_op_would_refuse():
    with pytest.raises(InputError, match="codebook must have shape"):
        explain("vq_lookup", X, CODES[:, 1:])


@pytest.mark.parametrize(
    "ask",
    [lambda: vq_lookup(X, CODES, backend="gpu"), lambda: backend("gpu").__enter__()],
    ids=["keyword", "context"],
)
def test_unknown_names_are_listed(ask):
    with pytest.raises(BackendError, match="cuda, triton, cpu, reference, got 'gpu'"):
        ask()


def test_unknown_op():
    with pytest.raises(BackendError, match="op must be one of"):
        explain("vq", X, CODES)


def test_every_family_lists_its_ops():
    for name in _dispatch.FAMILIES:
        operation = _dispatch.operation_of(name)
        assert operation.name == name
        names = [b.name for b in operation.backends]
        assert names == sorted(names, key=_dispatch.NAMES.index)
        assert names[-1] == "reference"


def test_a_requested_backend_never_falls_back():
    with pytest.raises(BackendError, match="must be able to run these inputs"):
        vq_lookup(X, CODES, backend="cuda")
    with backend("cuda"), pytest.raises(FastbrainError, match="must be able to run"):
        vq_lookup(X, CODES)


def test_a_slower_backend_runs_when_it_is_asked_for_or_the_faster_ones_cannot():
    able = {"cuda": None, "triton": None}
    operation = _dispatch.Operation(
        "op",
        tuple,
        (
            _dispatch.Backend("cuda", lambda _: able["cuda"], tuple, slower=lambda _: "of this"),
            _dispatch.Backend("triton", lambda _: able["triton"], tuple),
            _dispatch.Backend("reference", _dispatch.anything, tuple),
        ),
    )
    assert _dispatch.choose(operation, (0,), None).name == "triton"
    assert _dispatch.choose(operation, (0,), "cuda").name == "cuda"
    able["triton"] = "not installed"
    assert _dispatch.choose(operation, (0,), None).name == "cuda"
    able["cuda"] = "no GPU"
    assert _dispatch.choose(operation, (0,), None).name == "reference"


def test_keyword_wins_over_context():
    with backend("cuda"):
        assert vq_lookup(X, CODES, backend="reference").shape == (5,)


def test_context_is_restored_even_after_an_error():
    with backend("reference"):
        with pytest.raises(ZeroDivisionError), backend("cuda"):
            raise ZeroDivisionError
        assert vq_lookup(X, CODES).shape == (5,)
    assert _dispatch._requested == (os.environ.get("FASTBRAIN_BACKEND") or None)


def test_a_compiled_function_sees_the_context():
    torch._dynamo.reset()
    weights = torch.randn(4, 3), None, torch.randn(2, 3), torch.randn(4, 2)
    function = torch.compile(lora_linear, fullgraph=True, backend="eager")
    function(X, *weights)
    with backend("triton"), pytest.raises(Exception, match="the tensors are on cpu"):
        function(X, *weights)
    assert function(X, *weights).shape == (5, 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # without the variable the backend cpu runs
        ("reference", "[('vq_lookup', 'reference')]"),
        ("cuda", "backend 'cuda' must be able to run these inputs"),
        ("gpu", "cuda, triton, cpu, reference, got 'gpu'"),
    ],
)
def test_environment_variable(name, expected):
    code = """
import torch
from fastbrain import ops
from fastbrain.errors import BackendError
with ops.observed() as calls:
    try:
        ops.vq_lookup(torch.zeros(2, 3), torch.ones(4, 3))
        print(calls)
    except BackendError as error:
        print(error)
"""
    environment = {**os.environ, "FASTBRAIN_BACKEND": name}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert expected in ran.stdout
