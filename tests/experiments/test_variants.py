"""Each variant changes what it says, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest

from fastbrain.brainllm.training.pipeline import BrainLLMRunConfig
from fastbrain.data import Split
from fastbrain.data.readers.events import Trial
from fastbrain.data.readers.masks import read_label_names
from fastbrain.data.splits.share import share_of_training
from fastbrain.errors import CohortError, ConfigError, SplitError
from fastbrain.experiments.ablation import PARTS, ablation_variants
from fastbrain.experiments.brainllm_variants import (
    capacity_variants,
    prompt_variants,
    region_variants,
    share_variants,
)
from fastbrain.llm4brain.training import RunConfig

FULL = replace(RunConfig(), adapt_runs=1)


def differing(one: dict, other: dict, where: str = "") -> set[str]:
    found = set()
    for key in one:
        name = f"{where}{key}"
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            found |= differing(one[key], other[key], f"{name}.")
        elif one[key] != other[key]:
            found.add(name)
    return found


CHANGES = {
    "adapter-none": {"model.adapter.rank", "stage1.groups", "stage2.groups"},
    "adapter-linear": {"model.adapter.activation"},
    "rank-2": {"model.adapter.rank"},
    "place-mlp": {"model.adapter.places"},
    "place-cross": {"model.adapter.places", "stage1.groups", "stage2.groups"},
    "no-nc": {"stage2.losses.nc"},
    "no-es": {"stage2.losses.es"},
    "no-adaptation": {"stage2.losses.nc", "stage2.losses.es"},
    "no-stage1": {"stage1"},
    "no-clip": {"stage1.losses.beta"},
    "no-l2l1": {"stage1.losses.beta"},
    "l1": {"stage1.losses.alpha"},
    "tokenizer-2": {"model.encoder.tokenizer.kernels"},
}


FRAMES = {"model": {"encoder": {"tokenizer": {"frames": 2, "activation": "relu"}}}}


def test_an_ablation_changes_one_part():
    found = {v.name: v.config for v in ablation_variants(FULL, PARTS)}
    assert found["reference"] == FULL
    for name, changes in CHANGES.items():
        assert differing(FULL.to_dict(), found[name].to_dict()) == changes, name
    assert found["no-clip"].stage1.losses.beta == 0
    assert found["no-l2l1"].stage1.losses.beta == 1
    cross = found["place-cross"]
    assert "encoder_adapters" not in cross.stage1.groups
    assert "qformer_adapters" in cross.stage1.groups


def test_other_settings_of_the_tokenizer_stay():
    found = ablation_variants(RunConfig.from_dict(FRAMES), ["tokenizer"])
    assert [v.name for v in found] == ["reference", "tokenizer-2"]
    changed = differing(found[0].config.to_dict(), found[1].config.to_dict())
    assert changed == {"model.encoder.tokenizer.kernels"}


@pytest.mark.parametrize(
    ("config", "part", "words"),
    [
        (RunConfig(), "adaptation", "Train with --adapt-runs"),
        (replace(RunConfig(), stage1=None), "stage1", "got none"),
        (RunConfig(), "bridge", "must be some of"),
    ],
)
def test_what_a_run_does_not_have_is_not_ablated(config, part, words):
    with pytest.raises(ConfigError, match=words):
        ablation_variants(config, [part])


def test_decoders_are_compared_with_that_of_the_run():
    config = BrainLLMRunConfig(features=8)
    found = capacity_variants(config, ["linear", "mlp", "rnn"])
    assert [(v.name, v.config.decoder) for v in found] == [
        ("reference", "mlp"), ("linear", "linear"), ("rnn", "rnn")
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="must differ from the run's"):
        capacity_variants(config, ["mlp"])


def trials(runs: int, each: int, story: str = "") -> list[Trial]:
    return [
        Trial(f"r{r}_t{k}", f"r{r}", "01", "", f"{r}", 0.0, 1.0, 9 * k, 2, "", "x",
              story=story and f"{story}{r // 2}")
        for r in range(runs) for k in range(each)
    ]  # fmt: skip


def test_shares_are_points_of_a_curve(store):
    cohort = trials(10, 3)
    ids = tuple(t.trial_id for t in cohort)
    parts = Split(ids[:24], ids[24:27], ids[27:], 2, ())
    eight_runs = replace(store, trials=cohort, split=parts)
    found = share_variants(BrainLLMRunConfig(), [0.25, 0.4], eight_runs)
    # whole runs are taken: 0.4 of 24 trials are in four of the eight runs
    assert [(v.name, v.config.training_share, v.title, v.value) for v in found] == [
        ("reference", 1.0, "24 of 24 training trials", 100.0),
        ("share-0.4", 0.4, "12 of 24 training trials", 50.0),
        ("share-0.25", 0.25, "6 of 24 training trials", 25.0),
    ]
    for bad in ([], [1.0], [1.5], [0.0], [0.5, 0.5]):
        with pytest.raises(ConfigError, match="study samples: shares must be different numbers"):
            share_variants(BrainLLMRunConfig(), bad, eight_runs)
    with pytest.raises(ConfigError, match=r"0\.5 \(12 of 24 trials\), 0\.4 \(12 of 24 trials\)"):
        share_variants(BrainLLMRunConfig(), [0.5, 0.4], eight_runs)


@pytest.mark.parametrize("story", ["", "s"])
def test_smaller_shares_are_parts_of_larger_ones(story):
    cohort = trials(16, 3, story)
    ids = tuple(t.trial_id for t in cohort)
    split = Split(ids[:36], ids[36:42], ids[42:], 2, ())
    parts = [share_of_training(split, cohort, s, seed=5).train for s in (0.2, 0.5, 0.8, 1.0)]
    for small, large in pairwise(parts):
        assert set(small) < set(large)
        assert list(small) == [i for i in large if i in small]
    unit = {t.trial_id: t.story or t.run_id for t in cohort}
    for part in parts[:3]:
        kept = {unit[i] for i in part}
        assert [i for i in split.train if unit[i] in kept] == list(part)
    assert [len(p) / 36 >= s for p, s in zip(parts, (0.2, 0.5, 0.8), strict=False)] == [True] * 3
    half = share_of_training(split, cohort, 0.5, seed=5)
    assert (half.val, half.test) == (split.val, split.test)
    assert half.unused == 36 - len(half.train)
    others = {share_of_training(split, cohort, 0.2, seed=s).train for s in range(9)}
    assert len(others) > 1
    with pytest.raises(SplitError, match="above 0 and up to 1"):
        share_of_training(split, cohort, 0.0)


def test_every_region_is_a_variant(store, tmp_path):
    labels = np.zeros(store.grid.shape, dtype=np.int16)
    labels[:, :3], labels[:, 3:] = 1, 7
    path = tmp_path / "atlas.nii.gz"
    nib.save(nib.Nifti1Image(labels.T, store.affine), path)
    config = BrainLLMRunConfig(features=8)
    found = region_variants(config, path, store)
    assert [v.name for v in found] == ["reference", "region-1", "region-7"]
    assert found[2].config.regions == (7,)
    voxels = int((labels[store.grid.mask] == 7).sum())
    assert found[2].title == f"7 ({voxels} voxels)"
    named = region_variants(config, path, store, {7: "left"})
    assert [v.title for v in named] == ["all voxels", f"left ({voxels} voxels)"]
    with pytest.raises(ConfigError, match=r"at least 8 voxels in the store.*right \(0\)"):
        region_variants(config, path, store, {9: "right"})


def test_names_of_labels(tmp_path):
    path = tmp_path / "dseg.tsv"
    path.write_text("index\tname\tcolor\n0\tbackground\tx\n3\tV1\tx\n1\tA1\tx\n")
    assert read_label_names(path) == {3: "V1", 1: "A1"}
    path.write_text("index\tname\n1\tA1\n1\tV1\n")
    with pytest.raises(CohortError, match="another whole number below 2\\^31, got '1' and 'V1'"):
        read_label_names(path)
    path.write_text("label\tname\n1\tA1\n")
    with pytest.raises(CohortError, match="columns index and name"):
        read_label_names(path)


def test_sizes_of_the_decoder_are_variants_of_an_mlp():
    config = BrainLLMRunConfig(features=8, decoder="linear")
    found = capacity_variants(config, [], depths=[1, 2], widths=[16])
    assert [(v.name, v.config.decoder, v.config.depth, v.config.width) for v in found] == [
        ("reference", "linear", 2, None),
        ("depth-1", "mlp", 1, None),
        ("depth-2", "mlp", 2, None),
        ("width-16", "mlp", 2, 16),
    ]


def test_prompt_lengths_are_points_of_a_curve(store):
    trials = [replace(t, prompt="one two three four five six") for t in store.trials]
    asked = replace(store, trials=trials)
    found = prompt_variants(BrainLLMRunConfig(), [0, 3], asked)
    assert [(v.name, v.config.prompt_length, v.value) for v in found] == [
        ("reference", None, 6), ("words-3", 3, 3), ("words-0", 0, 0)
    ]  # fmt: skip
    for bad in ([], [6], [-1], [7]):
        with pytest.raises(ConfigError, match="from 0 to below the run's 6 words"):
            prompt_variants(BrainLLMRunConfig(), bad, asked)
    with pytest.raises(ConfigError, match="below the run's 0 words"):
        prompt_variants(BrainLLMRunConfig(), [0], store)
