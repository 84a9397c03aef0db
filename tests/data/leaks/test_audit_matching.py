"""What the auditor compares: words, digests of scans, and not every pair of samples."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fastbrain.data import AuditRecord, audit_records, scan_digests
from fastbrain.data.leaks.text_leaks import words_of
from fastbrain.errors import InputError

# of ten times as many samples: between 10 times for work a sample and 100 times for work a pair
MOST_GROWTH = 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        (" \n", ()),
        ("Don't  STOP", ("don't", "stop")),
        ("🙂 🙂", ("🙂", "🙂")),
        ("Ａ ｂ", ("a", "b")),
        ("...", ("...",)),
        ("Don’t 7-8", ("don't", "7", "8")),
        ("猫が走る。 OK", ("猫", "が", "走", "る", "ok")),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_blank_images_have_no_digest():
    images = np.zeros((4, 2, 3), np.float32)
    images[1:3] = 1.0
    images[3, 0, 0] = np.nan
    one, two, three, four = scan_digests(images)
    assert one == ""
    assert two == three != four
    assert scan_digests(images[:0]) == []
    with pytest.raises(InputError, match="images must be"):
        scan_digests(np.zeros(3))


def many(count, alike):
    rng = np.random.default_rng(0)
    parts = ("train", "val", "test")
    return [
        AuditRecord(
            str(i),
            parts[int(rng.integers(3))],
            run_id="run" if alike else f"run-{i // 200}",
            start=0 if alike else 6 * (i % 200),
            frames=4,
            stimulus="clip" if alike else f"clip-{i}",
            text="what the person sees now is a cat" + ("" if alike else f" and {i} dogs"),
            prompt="what the person sees " * 8 + ("" if alike else str(i)),
            scans=("scan",) if alike else tuple(f"{i}-{k}" for k in range(4)),
            story="story" if alike else f"story-{i}",
        )
        for i in range(count)
    ]


def audited(count, alike):
    """The audit of so many samples, and its processor time, s."""
    records = many(count, alike)
    start = time.process_time()
    audit = audit_records(records, guard_trs=6)
    return audit, time.process_time() - start


@pytest.mark.parametrize("alike", [False, True], ids=["few leaks", "all alike"])
def test_time_does_not_grow_with_the_number_of_pairs(alike):
    short = min(audited(1_000, alike)[1] for _ in range(3))
    audit, long = min((audited(10_000, alike) for _ in range(3)), key=lambda found: found[1])
    assert long < MOST_GROWTH * short
    assert {leak.kind for leak in audit.findings} == (
        {"scan", "window", "stimulus", "text", "story"} if alike else {"window"}
    )
