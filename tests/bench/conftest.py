"""An op that another package would add: cheap, with a right, a slow and a wrong provider."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from fastbrain.bench import Entry, Problem, Provider, measuring, plugins, session

MODULE = """
from fastbrain.bench import Provider

def build(inputs, setting):
    return lambda: inputs["x"] @ inputs["x"]

PROVIDERS = [Provider("mine", "squares", build)]
"""


def squares(setting):
    x = torch.eye(8, device=setting.device, dtype=setting.dtype)

    def error(_name, got):
        return float((got - x).abs().max())

    return Problem(
        providers={"fastbrain": lambda: x @ x, "wrong": lambda: x + 1},
        error=error,
        limit=1e-6,
        flops=1024.0,
        traffic=512.0,
        inputs={"x": x},
        kernels={"fastbrain": lambda: x},
    )


ENTRIES = [Entry("squares", name, squares, rounds=5) for name in ("small", "large")]
ABSENT = Provider("absent", "squares", lambda *_: None, lambda *_: "not installed: pip install it")


@pytest.fixture
def points(monkeypatch, tmp_path):
    """Entry points of installed packages: a module of ten lines, and a list."""
    (tmp_path / "my_bench.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    held = [
        metadata.EntryPoint("mine", "my_bench", plugins.GROUP),
        SimpleNamespace(name="list", value="x", load=lambda: [*ENTRIES, ABSENT]),
    ]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: held)
    return held


@pytest.fixture
def measured_roofline(monkeypatch):
    """A machine of which the best is known."""

    def record(setting, recorder, **_):
        about = {"op": "roofline", "case": setting.precision, "provider": "torch"}
        recorder.row(**about, gbytes=10.0, gflops=100.0)
        return {"bytes": 1e10, "flops": 1e11}

    monkeypatch.setattr(session, "record_roofline", record)
    # measuring it collects garbage first, which takes most of the time of a small test
    monkeypatch.setattr(measuring, "peak_bytes", lambda way, device: 8)
