"""Variants are trained once for each seed, kept, and compared with the first."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from known import made, sentences

from fastbrain._io import write_json
from fastbrain.errors import CheckpointError, ConfigError
from fastbrain.evaluation import evaluate_text, write_samples
from fastbrain.experiments.grid import Variant, run_variants


@dataclass(frozen=True)
class Skill:
    """Share of the texts that the decoder says right."""

    right: int
    seed: int = 0

    def to_dict(self):
        return {"right": self.right, "seed": self.seed}


@pytest.fixture
def world():
    trained = []

    def train(variant, seed, run, resume):
        assert resume == run.exists()
        trained.append((variant.name, seed))
        run.mkdir(parents=True)
        write_json(run / "manifest.json", variant.config.to_dict())

    def evaluate(run):
        right = {"reference": 16, "worse": 8, "more": 12}[run.parent.name]
        truth = sentences(16)
        said = [text if i < right else "nothing" for i, text in enumerate(truth)]
        result = evaluate_text(*made(said, np.ones((16, 16))), bert=False)
        write_samples(run / "samples.parquet", result)
        write_json(run / "metrics.json", result.to_json())

    return SimpleNamespace(trained=trained, how={"train": train, "evaluate": evaluate})


VARIANTS = [Variant("reference", "all", Skill(16)), Variant("worse", "half", Skill(8))]


def test_every_variant_is_trained_once_for_each_seed(world, tmp_path):
    out = tmp_path / "out"
    found = run_variants(VARIANTS, out, seeds=(3, 1), **world.how)
    assert world.trained == [("reference", 3), ("worse", 3), ("reference", 1), ("worse", 1)]
    assert found.of("worse", "rougeL_f").difference == pytest.approx(-0.5)
    # finished runs are kept, and a variant or a seed may be added
    more = [*VARIANTS, Variant("more", "more", Skill(12))]
    run_variants(more, out, seeds=(3, 1), **world.how)
    assert world.trained[4:] == [("more", 3), ("more", 1)]


def test_what_was_trained_must_not_change(world, tmp_path):
    out, about = tmp_path / "out", {"store_fingerprint": "0123"}
    run_variants(VARIANTS, out, about=about, **world.how)
    changed = [VARIANTS[0], Variant("worse", "half", Skill(7))]
    with pytest.raises(CheckpointError, match="got another worse"):
        run_variants(changed, out, about=about, **world.how)
    with pytest.raises(CheckpointError, match="got another store_fingerprint"):
        run_variants(VARIANTS, out, about={"store_fingerprint": "4567"}, **world.how)
    (out / "experiment.json").write_text('{"variants": 3}')
    with pytest.raises(CheckpointError, match=r"experiment\.json"):
        run_variants(VARIANTS, out, about=about, **world.how)
    assert len(world.trained) == 2


def test_an_unevaluated_run_is_not_trained_again(world, tmp_path):
    run_variants(VARIANTS, tmp_path / "out", **world.how)
    (tmp_path / "out/worse/seed-0/metrics.json").unlink()
    run_variants(VARIANTS, tmp_path / "out", **world.how)
    assert len(world.trained) == 2


def test_bad_requests_are_refused_before_training(world, tmp_path):
    with pytest.raises(ConfigError, match="each once"):
        run_variants([VARIANTS[0]] * 2, tmp_path / "a", **world.how)
    with pytest.raises(ConfigError, match="each once"):
        run_variants(VARIANTS, tmp_path / "a", seeds=(), **world.how)
    with pytest.raises(ConfigError, match="must be letters"):
        Variant("a/b", "", Skill(1))
    assert not (tmp_path / "a").exists()
    assert world.trained == []
