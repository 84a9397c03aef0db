"""Variants of a recipe over seeds: the table, what goes on, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from known import made, perfect, sentences
from scipy.stats import t

from fastbrain._io import write_json
from fastbrain.errors import CheckpointError, ConfigError, InputError
from fastbrain.evaluation import compare_variants, evaluate_text, write_samples

N = 64


@dataclass(frozen=True)
class Known:
    """A variant that gives the first `right` texts correctly, plus one for each seed."""

    right: int

    def to_dict(self):
        return {"right": self.right}


@cache
def evaluated(right):
    truth = sentences(N)
    said = [*truth[:right], *["nothing at all"] * (N - right)]
    samples, found = made(said, np.ones((N, N)) - 0.5 * np.eye(N), truth=truth)
    return evaluate_text(samples, found, bert=False)


@pytest.fixture
def system():
    """Callables that train and evaluate, and the list of runs that were trained."""
    pytest.importorskip("matplotlib")
    trained = []

    def train(name, config, seed, run, resume):
        trained.append((name, seed, resume))
        write_json(run / "manifest.json", {"right": config.right + seed})

    def evaluate(run):
        right = json.loads((run / "manifest.json").read_text())["right"]
        result = evaluated(right)
        write_samples(run / "samples.parquet", result)
        write_json(run / "metrics.json", result.to_json())

    return train, evaluate, trained


VARIANTS = {"none": Known(8), "rest+task": Known(40)}


def run(system, out, variants=None, **options):
    train, evaluate, _ = system
    given = {"seeds": (0, 1, 3), **options}
    return compare_variants(variants or VARIANTS, out, train=train, evaluate=evaluate, **given)


def test_means_intervals_and_paired_differences(system, tmp_path):
    found = run(system, tmp_path / "out")
    rows = {(r.variant, r.metric): r for r in found.rows}
    first, other = rows["none", "exact_match"], rows["rest+task", "exact_match"]
    assert first.values == pytest.approx([8 / N, 9 / N, 11 / N])
    half = t.ppf(0.975, 2) * np.std(first.values, ddof=1) / np.sqrt(3)
    assert first.interval.high - first.mean == pytest.approx(half)
    assert (first.difference, first.p) == (None, None)
    # the same 32 texts more with every seed: the difference does not vary
    assert other.difference == pytest.approx(32 / N)
    assert other.difference_interval.high - other.difference_interval.low == pytest.approx(0)
    assert first.chance == pytest.approx(0, abs=0.02)
    # four blocks: two-sided sign flips give 2/16 where all differ, 1 where none does
    assert other.p <= 0.25
    assert rows["rest+task", "pairwise"].p == 1.0
    assert all(r.adjusted >= r.p for r in found.rows if r.p is not None)
    assert rows["rest+task", "bleu1"].p is None  # of the corpus, not of single windows
    assert "from none" in found.text()
    for name in ("variants.json", "variants.md", "variants.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 200
    assert json.loads((tmp_path / "out" / "variants.json").read_text())["seeds"] == [0, 1, 3]


def test_it_goes_on_where_it_was_stopped(system, tmp_path):
    train, evaluate, trained = system

    def dies(path):
        if path.name == "seed-1":
            raise KeyboardInterrupt
        evaluate(path)

    with pytest.raises(KeyboardInterrupt):
        run((train, dies, trained), tmp_path / "out")
    before = list(trained)
    again = run(system, tmp_path / "out")
    assert len(before) == 3
    assert sorted(set(trained)) == sorted(trained)
    assert again == run(system, tmp_path / "out")
    with pytest.raises(CheckpointError, match="must keep its variants"):
        run(system, tmp_path / "out", {**VARIANTS, "none": Known(9)})
    with pytest.raises(CheckpointError, match="must keep its about"):
        run(system, tmp_path / "out", about={"store": "another"})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"variants": {"none": Known(1)}}, ConfigError, "two or more"),
        ({"variants": {"none": Known(1), "../x": Known(2)}}, ConfigError, "two or more"),
        ({"seeds": (1, 1)}, ConfigError, "seeds"),
        ({"seeds": ()}, ConfigError, "seeds"),
        ({"reference": "rest"}, ConfigError, "reference"),
        ({"metrics": ("meteor",)}, InputError, "meteor"),
    ],
)
def test_what_is_refused(system, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        run(system, tmp_path / "out", **options)


def test_one_seed_has_no_interval(system, tmp_path):
    found = run(system, tmp_path / "out", seeds=(2,), reference="rest+task", metrics=("wer",))
    (first, other) = found.rows
    assert (first.variant, first.interval) == ("none", None)
    assert first.difference > 0
    assert other.difference is None


def test_other_windows_are_not_compared(system, tmp_path):
    train, evaluate, trained = system

    def halved(path):
        if "none" in path.parts:
            return evaluate(path)
        samples, found = perfect(32)
        result = evaluate_text(samples, found, bert=False)
        write_samples(path / "samples.parquet", result)
        write_json(path / "metrics.json", result.to_json())

    with pytest.raises(InputError, match="windows of none"):
        run((train, halved, trained), tmp_path / "out")
