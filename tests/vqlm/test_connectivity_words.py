"""Components of connectivity: fitted on training people, saved and read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from damage import flip_last_bit

from fastbrain.errors import CheckpointError, InputError
from fastbrain.vqlm.connectivity_words import ConnectivityWords, load_words, save_words


def features(people=9, connections=15, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(people, 4)) @ rng.normal(size=(4, connections))
    return {f"p{i}": row + 0.1 * rng.normal(size=connections) for i, row in enumerate(mixed)}


@pytest.mark.parametrize(("components", "kept"), [(1, 1), (5, 5), (40, 8)])
def test_components_are_those_of_sklearn(components, kept):
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    trained, other = features(), features(3, seed=1)
    words = ConnectivityWords.fit(trained, components=components)
    assert words.fitted_on == tuple(trained)
    assert len(words.scale) == kept
    scaler = StandardScaler().fit(np.stack(list(trained.values())))
    pca = PCA(kept).fit(scaler.transform(np.stack(list(trained.values()))))
    size = np.sqrt(pca.explained_variance_ * (len(trained) - 1) / len(trained))
    wanted = pca.transform(scaler.transform(np.stack(list(other.values())))) / size
    found = torch.stack([words.values(row) for row in other.values()]).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-8)
    own = torch.stack([words.values(row) for row in trained.values()])
    torch.testing.assert_close(own.mean(dim=0), torch.zeros(kept).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(own.std(dim=0, correction=0), torch.ones(kept).double())


def test_a_connection_without_variance_says_nothing():
    trained = features()
    for row in trained.values():
        row[3] = 0.5
    words = ConnectivityWords.fit(trained, components=4)
    one = next(iter(trained.values())).copy()
    before = words.values(one)
    one[3] = 0.9
    torch.testing.assert_close(words.values(one), before)


def test_saved_components_are_read_back(tmp_path):
    words = ConnectivityWords.fit(
        features(), components=4, regions=("a", "b"), source="connectomes"
    )
    folder = save_words(words, tmp_path / "words")
    found = load_words(folder)
    one = features(1, seed=3)["p0"]
    assert torch.equal(found.values(one), words.values(one))
    assert found.fitted_on == words.fitted_on
    assert (found.regions, found.source) == (("a", "b"), "connectomes")
    flip_last_bit(folder / "words.safetensors")
    with pytest.raises(CheckpointError, match=r"words\.safetensors"):
        load_words(folder)


def test_bad_input_is_refused():
    same = dict.fromkeys("abcd", np.ones(6))
    for wrong, match in ((features(2), "three people"), (same, "differ between people")):
        with pytest.raises(InputError, match=match):
            ConnectivityWords.fit(wrong, components=2)
    words = ConnectivityWords.fit(features(), components=2)
    for one in (np.ones(14), np.full(15, np.nan)):
        with pytest.raises(InputError, match=r"\(15,\) and finite"):
            words.values(one)
