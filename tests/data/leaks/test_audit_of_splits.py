"""Splits of trials, and the random split of sentences that leaks, under the auditor."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fastbrain.data import (
    Audit,
    AuditRecord,
    Split,
    Trial,
    audit_records,
    audit_trials,
    scan_digests,
)
from fastbrain.errors import LeakError, SplitError


def trial(name, part_start, **changes):
    own = Trial(
        trial_id=name, run_id="sub-1_run-1", subject="1", session="", run="1", onset=0.0,
        duration=2.0, start=part_start, frames=3, stimulus=name, text=f"text of {name}",
        guard_trs=5,
    )  # fmt: skip
    return replace(own, **changes)


def test_an_explicit_guard_cannot_hide_the_haemodynamic_delay():
    trials = [trial("a", 0), trial("b", 20), trial("c", 5)]
    split = Split(("a",), ("b",), ("c",), 0, ("stimulus",))
    split.check(trials)
    audit = audit_trials(trials, split)
    assert audit.guard_trs == 5
    assert [leak.kind for leak in audit.findings] == ["window"]


def test_trials_of_a_split():
    trials = [trial("a", 0), trial("b", 20), trial("c", 40), trial("d", 60)]
    split = Split(("a",), ("b",), ("c", "d"), 5, ("run_id",))
    audit = audit_trials(trials, split, scans={"a": ("x",), "d": ("x",)}, adapt=["d"])
    assert audit.sizes == {"train": 1, "val": 1, "test": 1, "adapt": 1}
    assert {(leak.kind, leak.parts, leak.examples[0][2]) for leak in audit.findings} == {
        ("claim", (one, "test"), "run_id sub-1_run-1") for one in ("train", "val")
    }
    for changes, words in (
        ({"val": ()}, "val must have trials, got none"),
        ({"test": ("z",)}, "test must name trials of the cohort, got z"),
    ):
        with pytest.raises(SplitError, match=words):
            audit_trials(trials, replace(split, **changes))


def passages(sentences, digests, part_of):
    """Samples as BrainLLM makes them: segment k is to be said, the segments before are prompt."""
    return [
        AuditRecord(
            f"{row['row']}-{k}",
            part,
            story=str(row["passage"]),
            text=row["segments"][k],
            prompt=" ".join(row["segments"][:k]),
            scans=(digests[row["row"]],),
        )
        for row in sentences
        for k in range(1, len(row["segments"]))
        for part in part_of(row)
    ]


def audit_both(sentences, digests) -> tuple[Audit, Audit]:
    """A random split of samples in which validation is test, and a split by passage."""
    rng = np.random.default_rng(2021)
    names = sorted({row["passage"] for row in sentences})
    group = {
        name: ("test", "val", "train", "train", "train")[i % 5] for i, name in enumerate(names)
    }

    def at_random(row):
        return ("val", "test") if 0.2 < rng.random() <= 0.4 else ("train",)

    random = audit_records(passages(sentences, digests, at_random))
    return random, audit_records(passages(sentences, digests, lambda row: [group[row["passage"]]]))


def told(audit):
    return {(leak.kind, leak.parts): leak for leak in audit.findings}


def check_random_split(audit):
    found = told(audit)
    samples_of_test = audit.sizes["test"]
    # validation is the test part, whole
    assert found["sample", ("val", "test")].affected == samples_of_test
    # published: 77 % of the test samples have their very scan in training
    assert 0.65 < found["scan", ("train", "test")].affected / samples_of_test < 0.9
    assert found["story", ("train", "test")].affected > 0.9 * samples_of_test
    assert ("prompt", ("test", "train")) in found
    with pytest.raises(LeakError, match=r"the same sample in val and test.*identical scans"):
        audit.check()


def test_a_random_split_of_sentences_is_refused():
    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in range(900)]
    sentences = [
        {
            "row": row,
            "passage": row // 4,
            "segments": [" ".join(rng.choice(words, 5)) for _ in range(3)],
        }
        for row in range(200)
    ]
    random, blocked = audit_both(sentences, scan_digests(rng.standard_normal((200, 9))))
    check_random_split(random)
    assert blocked.clean


def test_a_random_split_of_the_pereira_sentences_is_refused(real_data):
    folder = real_data / "pereira_sentences"
    sentences = json.loads((folder / "sentences.json").read_text())
    digests = scan_digests(np.load(folder / "features_pca1000.npy", allow_pickle=False))
    assert len(set(digests)) == len(sentences) == 470
    random, blocked = audit_both(sentences, digests)
    check_random_split(random)
    assert blocked.clean
