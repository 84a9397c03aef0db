"""Stories from their published layout to scored running text, with and without a signal."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbrain import cli
from fastbrain.data import StoryDesign, simulate_stories
from fastbrain.data.simulate.captions import draw_meanings
from fastbrain.lm import small_llm

pytestmark = pytest.mark.slow(seconds=40)
SPLIT = ["--split-by", "story", "--train", "tale1", "tale2", "tale3", "tale4"]
SPLIT += ["--val", "tale5", "--test", "tale6", "tale7"]
STAGE = {"batch_size": 16, "optim": {"lr": 3e-3}}
CONFIG = {
    "features": 24,
    "standardise": "zscore",
    "steering": True,
    "dropout": 0.1,
    "training": {
        "warmup": {"name": "warmup", "epochs": 3, **STAGE},
        "tune": {"name": "tune", "epochs": 8, "patience": 3, **STAGE},
        "end": False,
        "max_text_tokens": 48,
        "max_prompt_tokens": 32,
    },
}


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A small model of the language of the stories, from other sentences than theirs."""
    said = [m.caption for m in draw_meanings(400, np.random.default_rng(5))]
    corpus = [f"{a} {b}" for a, b in zip(said[::2], said[1::2], strict=True)]
    folder = tmp_path_factory.mktemp("llm")
    return small_llm(corpus, cache_dir=folder, dim=32, depth=1, steps=120)


@pytest.mark.parametrize(("layout", "snr"), [("narratives", 1.0), ("lebel", 0.0)])
def test_words_are_decoded_if_and_only_if_there_is_a_signal(
    layout, snr, language, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("nilearn")
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "cache"))
    design = StoryDesign(layout=layout, subjects=1, stories=7, volumes=80, snr=snr)
    root = simulate_stories(tmp_path / "cohort", design)
    study, store, run, out = (str(tmp_path / n) for n in ("study", "store", "run", "story.json"))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    train = ["--config", str(tmp_path / "config.json"), "--llm", str(language)]
    # phrases of the small grammar recur in the prompts of other stories
    train += ["--allow-leak", "the stories are made of few phrases"]
    assert cli.main(["study", layout, str(root), study, *SPLIT]) == 0
    assert cli.main(["prepare", study, store, "--kernel", "4", "4", "4"]) == 0
    assert cli.main(["train", "brainllm", store, run, *train]) == 0
    assert cli.main(["evaluate", run, "--no-bert"]) == 0
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["scores"]
    (pairwise,) = (
        s for s in scores if s["metric"] == "pairwise" and s["control"] == "deranged brain"
        and not s["group"]
    )  # fmt: skip
    assert pairwise["chance"] == pytest.approx(0.5, abs=0.1)
    # the running text of a held-out story
    assert cli.main(["decode", run, "--story", "tale6", "--out", out]) == 0
    told = json.loads((tmp_path / "story.json").read_text())
    assert told["free_running"] is True
    assert list(told["texts"].values()) == [" ".join(s["text"] for s in told["segments"])]
    assert {s["part"] for s in told["segments"]} == {"test"}
    assert all(len(s["text"].split()) == s["words"] for s in told["segments"])
    starts = [s["start_s"] for s in told["segments"]]
    assert np.allclose(np.diff(starts), 4 * design.tr)
    assert starts[0] == design.onset_s if layout == "lebel" else starts[0] == 15.0
    found = {(s["metric"], s["control"]): s for s in told["scores"]}
    shifted = found["rougeL_f", "deranged brain"]
    noise = found["rougeL_f", "phase-randomised brain"]
    assert all(s["mode"] == "free-running" for s in told["scores"])
    assert found["rougeL_f", "prompt alone"]["p"] is None
    if snr:
        assert pairwise["value"] > 0.7
        assert pairwise["p"] < 0.02
        assert shifted["value"] > shifted["chance"] + 0.05
        # no shift is as good; narratives' story has 13 distinct ones, so p cannot be smaller
        assert shifted["p"] <= 1 / 14
        assert noise["value"] > noise["chance"]
    else:
        assert pairwise["p"] > 0.05
        assert shifted["p"] > 0.05
        assert noise["p"] > 0.05
        return
    # a context of true words makes everything teacher-forced; training windows are not scored
    run_id = next(s["run"] for s in told["segments"])
    forced = ["decode", run, "--story", run_id, "--context", "transcript", "--out", out]
    assert cli.main(forced) == 0
    told = json.loads((tmp_path / "story.json").read_text())
    assert told["free_running"] is False
    assert {s["mode"] for s in told["scores"]} == {"teacher-forced"}
    assert cli.main(["decode", run, "--story", "tale1", "--out", out]) == 0
    told = json.loads((tmp_path / "story.json").read_text())
    assert {s["part"] for s in told["segments"]} == {"train"}
    assert told["scores"] == []
    assert "no window of the test part" in told["not_scored"]
    capsys.readouterr()
    for words, said in (
        (["--story", "tale9"], "story must be a story or run"),
        (["--story", "tale6", "--every", "4"], "--every must be left out with --story"),
        (["--context", "transcript"], "must come with --story"),
    ):
        assert cli.main(["decode", run, *words]) == 1
        assert said in capsys.readouterr().err
