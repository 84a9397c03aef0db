"""The demo does what the README says, and at no signal it lands at chance."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fastbrain.cli import main
from fastbrain.commands import demo as command
from fastbrain.evaluation import Score, find_score

pytest.importorskip("nilearn")
pytestmark = pytest.mark.slow(seconds=200, apart=True)


@pytest.fixture(scope="module", autouse=True)
def cache(shared_by_workers):
    """One folder for the language model of the grammar, which both demos train on."""
    folder = shared_by_workers("demo-cache", lambda folder: folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(folder))
        yield


def demo(out, *options: str) -> dict:
    assert main(["demo", "--out", str(out), *options]) == 0
    html = (out / "report.html").read_text()
    assert "data:image/png;base64," in html
    assert len(html) < 5_000_000
    return json.loads((out / "metrics.json").read_text())


def scored(metrics: dict, name: str, **which) -> Score:
    return find_score([Score.from_json(row) for row in metrics["scores"]], name, **which)


def test_an_unseen_person_and_unseen_clips(tmp_path, capsys):
    metrics = demo(tmp_path / "demo")
    assert metrics["audit"]["clean"]
    pairwise, bleu = scored(metrics, "pairwise"), scored(metrics, "bleu1")
    assert pairwise.value >= 0.85
    assert pairwise.p <= 0.01
    assert bleu.interval.low > bleu.chance + 0.1
    for control in ("noise brain", "zero brain", "prompt alone", "majority text"):
        rouge = scored(metrics, "rougeL_f", control=control)
        assert rouge.interval.low > rouge.chance + 0.1
    out = capsys.readouterr().out
    assert "text of a deranged brain" in out
    assert "pairwise accuracy" in out
    # a finished demo is not overwritten by accident
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1


def test_without_signal_there_is_nothing_to_decode(tmp_path, monkeypatch):
    def shorter(config, corpus):
        # of three people at the usual signal this much training reads 94 of 100 pairs
        recipe = whole(config, corpus)
        video, stage1 = replace(recipe.video, epochs=8), replace(recipe.stage1, epochs=1)
        return replace(recipe, pretrain=None, video=video, stage1=stage1)

    whole = command._recipe
    monkeypatch.setattr(command, "_recipe", shorter)
    metrics = demo(tmp_path / "demo", "--snr", "0", "--subjects", "3")
    pairwise = scored(metrics, "pairwise")
    assert pairwise.p > 0.05
    assert pairwise.interval.low < 0.5 < pairwise.interval.high
    for name in ("bleu1", "rougeL_f", "exact_match"):
        assert scored(metrics, name).p > 0.05
