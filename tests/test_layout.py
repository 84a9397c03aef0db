"""Layouts of listed locations: every location in its patch, refused where inconsistent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbrain import TokenGrid, ops
from fastbrain.errors import BackendError, InputError
from fastbrain.layout import TokenLayout

V = 41


def layout(patch=6, locations=V, seed=0, **changes):
    rng = np.random.default_rng(seed)
    order = rng.permutation(V)[: V - 3]
    rows = [order[i : i + patch] for i in range(0, len(order), patch)]
    offsets = np.full((len(rows), patch), -1)
    for row, members in zip(offsets, rows, strict=True):
        row[: len(members)] = members
    facts = {
        "offsets": offsets,
        "centers_mm": rng.normal(size=(len(rows), 3)),
        "locations": locations,
        "geometry": "surface",
        "names": [f"S{i}" for i in range(len(rows))],
        "space": "abc",
    }
    return TokenLayout(**{**facts, **changes})


@pytest.mark.parametrize("patch", [1, 2, 4, 7, 8, 12, 38])
def test_pack_and_unpack_are_those_of_a_grid(patch):
    found = layout(patch)
    values = np.random.default_rng(1).integers(1, 100, (2, 3, 1, 1, V)).astype(np.int16)
    packed = found.pack(values)
    assert packed.shape == (2, 3, found.n_tokens, found.patch_voxels)
    np.testing.assert_array_equal(found.unpack(packed), np.where(found.mask, values, 0))
    assert found.mask.sum() == V - 3
    assert np.prod(found.kernel) == patch
    assert isinstance(found, TokenGrid)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 3))
def test_arrays_of_a_file_give_the_same_layout(patch, seed):
    found = layout(patch, seed=seed)
    again = TokenLayout.from_arrays(found.offsets, found.centers_mm, found.about())
    assert again == found
    assert again.fingerprint() == found.fingerprint()
    assert again.names == found.names
    np.testing.assert_array_equal(again.centers(np.eye(4)), found.centers_mm)


@pytest.mark.parametrize(
    "change",
    [{"space": "other"}, {"positions": "order"}, {"locations": V + 1}, {"geometry": "parcels"}],
    ids=str,
)
def test_everything_is_part_of_the_fingerprint(change):
    assert layout(**change).fingerprint() != layout().fingerprint()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offsets": np.array([[0, 1], [1, 2]])}, "with a centre"),
        ({"offsets": np.zeros((7, 6), dtype=int)}, "once at most"),
        ({"offsets": np.full((7, 6), V)}, "once at most"),
        ({"offsets": np.full((7, 6), -1)}, "hold a location"),
        ({"centers_mm": np.full((7, 3), np.nan)}, "finite"),
        ({"names": ["one"]}, "name for each"),
        ({"geometry": "volume"}, "geometry must be one of"),
        ({"locations": 1 << 29}, "1 to"),
    ],
)
def test_inconsistent_arrays_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        layout(**change)


@pytest.mark.parametrize("damage", [b"{}", b"[1]", b"\xff", b'{"names": 3}', b""])
def test_damaged_descriptions_are_refused(damage):
    found = layout()
    about = np.frombuffer(damage, dtype=np.uint8)
    with pytest.raises(InputError, match="must be those of a layout"):
        TokenLayout.from_arrays(found.offsets, found.centers_mm, about)


@pytest.mark.parametrize("patch", [1, 4, 6, 8, 16])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_tokens_are_those_of_the_listed_locations(patch, backend):
    found = layout(patch)
    rng = np.random.default_rng(2)
    volumes = rng.integers(-900, 900, (2, 3, 1, 1, V)).astype(np.int16)
    weight = torch.from_numpy(rng.normal(size=(5, 3, *found.kernel)).astype(np.float32))
    packed = torch.from_numpy(found.pack(volumes))
    tokens = ops.tokenize_voxels(packed, weight, grid=found, backend=backend)
    wide = packed.double().permute(0, 2, 1, 3).flatten(2)  # (B, n, F·P)
    truth = wide @ weight.double().flatten(1).T
    # float32 sums of at most 48 products below 4,000
    torch.testing.assert_close(tokens.double(), truth, rtol=1e-5, atol=2e-2)
    unpacked = torch.from_numpy(volumes)
    same = ops.tokenize_voxels(unpacked, weight, grid=found)
    torch.testing.assert_close(same.double(), truth, rtol=1e-5, atol=2e-2)


def test_the_cpu_kernel_says_why_it_reads_packed_values_only():
    found = layout(8)
    weight = torch.randn(5, 1, *found.kernel)
    with pytest.raises(BackendError, match="packed"):
        ops.tokenize_voxels(torch.randn(1, 1, 1, 1, V), weight, grid=found, backend="cpu")
