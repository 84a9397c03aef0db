"""Decoders whose skill is known, run under every control."""

from __future__ import annotations

import numpy as np

from fastbrain.evaluation import Conditions, Control, Sample
from fastbrain.stats import derangements

WORDS = ["ball", "book", "chair", "guitar", "cake", "box", "tree", "lamp"]


def sentences(count):
    return [f"a person sees a {WORDS[i % 8]} now" for i in range(count)]


def made(decoded, nll, *, truth=None, count=100, people=1):
    """Samples of four runs, and what `nll` (N, N) says of text j given brain i."""
    truth = truth or sentences(len(decoded))
    blocks = [f"run-{4 * i // len(truth)}" for i in range(len(truth))]
    samples = [
        Sample(f"t{i}", f"{i % people:02d}", blocks[i], true, text)
        for i, (true, text) in enumerate(zip(truth, decoded, strict=True))
    ]
    partners = derangements(blocks, count=count)
    nll = np.asarray(nll, dtype=float)
    columns = np.arange(len(truth))
    flat = np.full(len(truth), 2.0)
    controls = (
        Control("true brain", tuple(decoded), np.diag(nll)),
        Control("deranged brain", None, nll[partners, columns], "100 derangements"),
        Control("zero brain", ("a person sees a thing now",) * len(truth), flat),
        Control("untuned model", ("",) * len(truth), flat + np.linspace(0, 1, len(truth))),
        Control("majority text", (truth[0],) * len(truth)),
    )
    found = Conditions(tuple(truth), partners, tuple(blocks), {c.name: c for c in controls})
    return samples, found


def perfect(count=16, people=1):
    truth = sentences(count)
    nll = [[1.0 + (a != b) for b in truth] for a in truth]
    return made(truth, nll, people=people)
