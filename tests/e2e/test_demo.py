"""The demo does what the README says, and at no signal it lands at chance."""

from __future__ import annotations

import json

import pytest

from fastbrain.cli import main

pytest.importorskip("nilearn")
pytestmark = pytest.mark.slow


def demo(out, *options: str) -> dict:
    assert main(["demo", "--out", str(out), *options]) == 0
    html = (out / "report.html").read_text()
    assert "data:image/png;base64," in html
    assert len(html) < 5_000_000
    return json.loads((out / "metrics.json").read_text())


def test_an_unseen_person_and_unseen_clips(tmp_path, capsys):
    metrics = demo(tmp_path / "demo")
    for key in ("n", "pairwise_ci", "rougeL_f", "rougeL_f_permuted", "bertscore_f", "seconds"):
        assert key in metrics
    assert metrics["pairwise_accuracy"] >= 0.85
    assert metrics["pairwise_p"] <= 0.01
    assert metrics["bleu1_ci"][0] > metrics["bleu1_permuted"] + 0.1
    out = capsys.readouterr().out
    assert "from a deranged brain" in out
    assert "pairwise accuracy" in out
    # a finished demo is not overwritten by accident
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1


def test_without_signal_there_is_nothing_to_decode(tmp_path):
    metrics = demo(tmp_path / "demo", "--snr", "0")
    assert metrics["pairwise_p"] > 0.05
    assert metrics["pairwise_ci"][0] < 0.5 < metrics["pairwise_ci"][1]
    for name in ("bleu1", "rougeL_f", "exact_match"):
        assert metrics[f"{name}_pvalue"] > 0.05
