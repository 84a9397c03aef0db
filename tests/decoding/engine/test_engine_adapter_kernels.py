"""Adapters in the step of a GPU: the kernels of Triton, interpreted on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_models import EOS, engine_model, hugging_face, some_embeds
from interpreted import interpreted

from fastbrain import backend
from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.nn import AdapterConfig
from fastbrain.nn.layers import AdaptedLinear
from fastbrain.ops._dispatch import observed

TOKENS = 4


def adapted_model():
    """A language model with an adapter with an activation on one of its layers."""
    model = engine_model("llama")
    mlp = model.model.layers[1].mlp
    old = mlp.up_proj
    new = AdaptedLinear(old.in_features, old.out_features, AdapterConfig(rank=3, activation="gelu"))
    with torch.no_grad():
        new.weight.copy_(old.weight)
        new.bias.zero_()
        for part in (new.adapter.a, new.adapter.b):
            part.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
    mlp.up_proj = new.eval()
    return model


def written(name: str) -> tuple[list[list[int]], set[str]]:
    """Greedy tokens by a backend, and the backends of the adapted layers in all steps."""
    engine = DecodeEngine(adapted_model(), max_tokens=20, step="torch")
    with backend(name), observed() as calls:
        found = engine.generate(
            some_embeds(2, 6), sampling=Sampling(max_new_tokens=TOKENS), eos_token_id=EOS
        )
    assert len(calls) > 2  # of the prefills and of the steps
    return [list(row) for row in found.tokens], {one for _, one in calls}


def test_the_kernels_of_triton_write_the_same_tokens():
    pytest.importorskip("triton", reason="triton is not installed")
    code = f"import sys; sys.path[:0] = {sys.path!r}; import {Path(__file__).stem} as t; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(t.written('triton'))"],
        env=interpreted(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = hugging_face(adapted_model(), some_embeds(2, 6), max_new_tokens=TOKENS)
    assert done.stdout == f"{(expected, {'triton'})}\n"
    assert written("reference") == (expected, {"reference"})
