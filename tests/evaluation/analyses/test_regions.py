"""One region at a time: what is planted in a region is found there and nowhere else."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain.errors import InputError, VolumeError
from fastbrain.evaluation import (
    Moments,
    Score,
    atlas_regions,
    correlations,
    evaluate_regions,
    keep_region,
    region_store,
    retrieval,
)


def test_signal_is_found_where_it_is():
    rng = np.random.default_rng(0)
    n, truth = 120, rng.normal(size=(240, 10))
    brain = rng.normal(size=(240, 30))
    brain[:, 5:15] += truth  # region "signal"
    moments = Moments.of(brain[:n], fitted_on="train")
    weights = np.linalg.lstsq(brain[:n], truth[:n], rcond=None)[0]
    blocks = np.repeat(np.arange(6), 20)
    index = np.arange(30)
    regions = {"front": index < 5, "signal": (index >= 5) & (index < 15), "back": index >= 15}

    def evaluate(name: str, mask: np.ndarray) -> Score:
        predicted = keep_region(brain[n:], mask, moments) @ weights
        found = retrieval(correlations(predicted, truth[n:]), blocks, count=200).two_way
        return Score(
            "two_way", "retrieval", found.value, n, found.chance, "deranged brain", found.p
        )

    front, signal, back = evaluate_regions(evaluate, regions)
    assert (signal.name, signal.voxels) == ("signal", 10)
    assert signal.score.value > 0.8
    assert signal.adjusted_p == pytest.approx(3 / 201)
    for other in (front, back):
        assert abs(other.score.value - 0.5) < 0.1
        assert other.adjusted_p > 0.05


def test_others_stand_at_the_training_mean():
    moments = Moments(np.array([1.0, 2.0, 3.0]), np.ones(3), "train")
    kept = keep_region(np.array([[7, 8, 9]]), np.array([False, True, False]), moments)
    assert kept.tolist() == [[1.0, 8.0, 3.0]]
    with pytest.raises(InputError, match="a voxel inside"):
        keep_region(np.zeros((2, 3)), np.zeros(3, dtype=bool), moments)


@pytest.fixture
def labels(store) -> np.ndarray:
    image = np.zeros(store.grid.shape, dtype=np.int16)
    image[:2], image[2:] = 7, 12
    image[:, 0] = 0
    return image


def test_regions_of_an_atlas_file(store, labels, tmp_path):
    nib.save(nib.Nifti1Image(labels.T, store.affine), tmp_path / "atlas.nii")
    regions = atlas_regions(tmp_path / "atlas.nii", {12: "back"}, store=store)
    assert list(regions) == ["back"]
    assert (regions["back"] == ((labels == 12) & store.grid.mask)).all()
    assert list(atlas_regions(labels, store=store)) == ["7", "12"]


def test_an_atlas_on_another_grid_is_refused(store, labels, tmp_path):
    nib.save(nib.Nifti1Image(labels.T, np.diag([2.0, 3, 3, 1])), tmp_path / "atlas.nii")
    with pytest.raises(VolumeError, match="Resample it"):
        atlas_regions(tmp_path / "atlas.nii", store=store)
    with pytest.raises(InputError, match="Resample it"):
        atlas_regions(labels[1:], store=store)
    with pytest.raises(InputError, match="nowhere"):
        atlas_regions(labels, {99: "nowhere"}, store=store)


def test_a_store_with_one_region(store, labels):
    mask = atlas_regions(labels, store=store)["7"]
    view = region_store(store, "7", mask)
    trial = store.split.test[0]
    inside = store.grid.pack(mask)
    assert (view.window(trial)[:, inside] == store.window(trial)[:, inside]).all()
    z = (view.window(trial) * store.scale - store.mean) * store.inv_std
    assert np.abs(z[:, ~inside]).max() < 0.01
    with pytest.raises(InputError, match="the store's shape"):
        region_store(store, "7", mask[1:])


def test_every_region_needs_a_p():
    with pytest.raises(InputError, match="with a p"):
        evaluate_regions(lambda *_: Score("x", "retrieval", 0.5, 3), {"a": np.ones(1, dtype=bool)})
    with pytest.raises(InputError, match="not be empty"):
        evaluate_regions(lambda *_: Score("x", "retrieval", 0.5, 3), {})
