"""SPICE runs another program, or says what is missing."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from fastbrain.errors import InputError, MissingPartError
from fastbrain.evaluation import spice
from fastbrain.evaluation.metrics import spice as module


class _Program:
    """Scores a text by its number of words; blank texts have no graph."""

    def compute_score(self, references, hypotheses):
        assert list(references) == sorted(hypotheses)
        words = [len(hypotheses[name][0].split()) for name in sorted(hypotheses)]
        return 0.0, [{"All": {"f": w / 10 if w else float("nan")}} for w in words]


@pytest.fixture
def program(monkeypatch, tmp_path):
    """A package with Java, models and the program above."""
    folder = tmp_path / "pycocoevalcap" / "spice" / "lib"
    folder.mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "pycocoevalcap")])
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(module.shutil, "which", lambda name: "/usr/bin/java")
    monkeypatch.setattr(module, "version", lambda name: "1.2")
    fake = ModuleType("pycocoevalcap.spice.spice")
    fake.Spice = _Program
    for name in ("pycocoevalcap", "pycocoevalcap.spice", fake.__name__):
        monkeypatch.setitem(sys.modules, name, fake)
    return folder


def test_what_is_missing_is_named(program, monkeypatch):
    with pytest.raises(MissingPartError, match=r"has no stanford-corenlp-3.6.0.jar"):
        spice(["a"], [["a"]])
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert module.spice_absent() == "pycocoevalcap is not installed"
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert module.spice_absent() == "Java is not installed"


def test_scores_keep_their_order(program):
    for name in module._MODELS:
        (program / name).touch()
    assert module.spice_absent() == ""
    texts = ["a b", "", *["a"] * 9, "a b c"]
    scores, signature = spice(texts, [["a"]] * 12)
    np.testing.assert_allclose(scores, [0.2, 0.0, *[0.1] * 9, 0.3])
    assert signature == "SPICE|pycocoevalcap 1.2"
    with pytest.raises(InputError, match="references must be"):
        spice(["a"], [[]])
