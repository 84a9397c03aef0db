"""Patches of a surface: connected, of nearly equal size, each location once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from surface_cohort import sphere

from fastbrain.data.readers.gifti import read_mesh
from fastbrain.data.store.neighborhoods import patches_of, surface_graph, voxel_graph
from fastbrain.errors import InputError


def check(graph, patches, size):
    np.testing.assert_array_equal(np.sort(np.concatenate(patches)), np.arange(graph.shape[0]))
    assert max(map(len, patches)) <= size
    # a cut that gives stray locations back may cost a few patches more
    assert len(patches) <= 1.2 * -(-graph.shape[0] // size) + 1
    for members in patches:
        assert connected_components(graph[members][:, members], directed=False)[0] == 1


@pytest.mark.parametrize("size", [1, 7, 16, 64, 258, 1000])
def test_patches_of_a_sphere(size):
    xyz, faces = sphere(times=3)
    graph = surface_graph(xyz, faces, np.arange(len(xyz)))
    check(graph, patches_of(graph, size), size)


@pytest.mark.parametrize("wall", [1, 30, 60])
def test_patches_of_a_surface_with_a_hole_and_islands(wall):
    xyz, faces = sphere(times=3)
    kept = np.setdiff1d(np.arange(len(xyz)), np.random.default_rng(0).permutation(len(xyz))[:wall])
    graph = surface_graph(xyz, faces, kept)
    assert connected_components(graph, directed=False)[0] == 1
    check(graph, patches_of(graph, 16), 16)


def test_patches_of_voxels_in_two_parts():
    box = np.argwhere(np.ones((5, 4, 3)))
    voxels = np.concatenate([box, box + np.array([9, 0, 0])])[
        np.random.default_rng(0).permutation(120)
    ]
    graph = voxel_graph(voxels, np.diag([2.0, 2.0, 3.0, 1.0]))
    # faces of each box, in both directions, and one bridge
    assert graph.nnz == 2 * (2 * (4 * 4 * 3 + 5 * 3 * 3 + 5 * 4 * 2) + 1)
    check(graph, patches_of(graph, 16), 16)


def test_patches_are_compact_on_the_surface_of_a_brain():
    datasets = pytest.importorskip("nilearn.datasets")
    folder = Path(datasets.__file__).parent / "data" / "fsaverage5"
    xyz, faces = read_mesh(folder / "white_left.gii.gz")
    vertices = np.arange(0, len(xyz))
    graph = surface_graph(xyz, faces, vertices)
    patches = patches_of(graph, 64)
    check(graph, patches, 64)
    radius = [np.linalg.norm(xyz[p] - xyz[p].mean(axis=0), axis=1).mean() for p in patches]
    order = [np.linalg.norm(xyz[p] - xyz[p].mean(axis=0), axis=1).mean()
             for p in np.array_split(vertices, len(patches))]  # fmt: skip
    # measured: 7.6 mm, and 30 mm of equally many vertices in the order of the file
    assert np.mean(radius) < 9
    assert np.mean(radius) < np.mean(order) / 3
    again = patches_of(graph, 64)
    assert all(np.array_equal(a, b) for a, b in zip(patches, again, strict=True))


def test_size_must_be_positive():
    with pytest.raises(InputError, match="1 or more"):
        patches_of(voxel_graph(np.zeros((1, 3), dtype=int), np.eye(4)), 0)
