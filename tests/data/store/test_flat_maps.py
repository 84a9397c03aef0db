"""Squares on flat maps: every vertex with a place once, at most so many, none from elsewhere."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel import gifti
from surface_cohort import WALL, sphere, write_cohort, write_func

from fastbrain.data import (
    VoxelStore,
    WindowSpec,
    plan_store,
    read_runs_table,
    split_by,
    write_store,
)
from fastbrain.data.readers.gifti import read_mesh
from fastbrain.data.store.flat_maps import FlatCortex, square_side
from fastbrain.data.store.token_layouts import LayoutSpec
from fastbrain.errors import CohortError, InputError, VolumeError

OPTIONS = {
    "window": WindowSpec(4.0, 4),
    "kernel": (4, 4, 4),
    "split": lambda trials: split_by(trials, "subject", train=["01"], val=["02"], test=["03"]),
    "high_pass_s": None,
}
CORTEX = 66
CUT = 6  # vertices of the test maps without a place
SIDES = ("left", "right")


def write_flat(root, *, depth=0.0, named=(None, None), cut=CUT):
    """Write flat maps of the spheres: a disc without the first vertices, of which one is far."""
    found = []
    xyz, faces = sphere()
    for side, name in zip(SIDES, named, strict=True):
        angle = np.arctan2(xyz[:, 1], xyz[:, 0])
        radius = np.arccos(np.clip(xyz[:, 2] / 40, -1, 1)) * 30
        flat = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        flat = np.column_stack([flat, depth * xyz[:, 2]])
        flat[0] = 1e4  # unplaced vertices have coordinates that mean nothing
        kept = faces[(faces >= cut).all(axis=1)]
        meta = gifti.GiftiMetaData(**({"AnatomicalStructurePrimary": name} if name else {}))
        arrays = [
            gifti.GiftiDataArray(
                flat.astype(np.float32), intent="NIFTI_INTENT_POINTSET", meta=meta
            ),
            gifti.GiftiDataArray(kept.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
        ]
        found.append(Path(root) / f"{side}.flat.surf.gii")
        nib.save(gifti.GiftiImage(darrays=arrays), found[-1])
    return tuple(found)


@pytest.fixture(scope="module")
def flat_plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("flat")
    runs = read_runs_table(write_cohort(root / "cifti", "cifti"))
    maps = write_flat(root)
    return root, runs, maps, plan_store(runs, layout=LayoutSpec("flat", 9, maps), **OPTIONS)


@pytest.mark.parametrize("most", [7, 64, 500])
def test_squares_of_fsaverage5_hold_each_placed_vertex_once(most):
    datasets = pytest.importorskip("nilearn.datasets")
    folder = Path(datasets.__file__).parent / "data" / "fsaverage5"
    from fastbrain.data.readers.locations import Structure

    files = {f"CORTEX_{s.upper()}": folder / f"flat_{s}.gii.gz" for s in SIDES}
    flat = FlatCortex.read(files, most)
    fullest = 0
    for name, file in files.items():
        xyz, triangles = read_mesh(file)
        placed = np.unique(triangles)
        structure = Structure(name, np.arange(len(xyz)), len(xyz))
        squares = list(flat.squares(structure, np.arange(len(xyz))))
        np.testing.assert_array_equal(np.sort(np.concatenate(squares)), placed)
        fullest = max(fullest, *map(len, squares))
        for members in squares:
            assert (np.ptp(xyz[members, :2], axis=0) <= flat.side).all()
            center = flat.center(structure, members)
            assert center[2] == 0
            assert (center[0] < 0) == (name == "CORTEX_LEFT")
        # a square of the grid is given once
        corner = xyz[placed, :2].min(axis=0)
        cells = {tuple(np.floor((xyz[m[0], :2] - corner) / flat.side)) for m in squares}
        assert len(cells) == len(squares)
    assert fullest <= most
    # a square that is half a millimetre wider would be too full somewhere
    assert fullest > 0.8 * most


def test_tokens_of_a_store_are_squares_and_the_rest_is_counted(flat_plan, tmp_path):
    plan = flat_plan[3]
    grid, names = plan.grid, plan.grid.names
    assert grid.positions == "flat"
    # the CIFTI file lacks the medial wall, which holds the vertices that the maps lack
    assert WALL >= CUT
    assert grid.mask.all()
    assert not any("flat" in note for note in plan.notes())
    left, right = (grid.centers_mm[[n == f"CORTEX_{s}" for n in names]] for s in ("LEFT", "RIGHT"))
    assert left[:, 0].max() < 0 < right[:, 0].min()
    below = grid.centers_mm[[n.startswith("THALAMUS") for n in names]]
    assert below[:, 1].max() < left[:, 1].min()
    cortex = [row for row, name in zip(grid.offsets, names, strict=True) if "CORTEX" in name]
    assert max((row >= 0).sum() for row in cortex) <= 9
    store = write_store(plan, tmp_path / "store")
    again = VoxelStore.open(store.path)
    assert again.grid == grid
    assert again.grid.positions == "flat"


def test_vertices_without_a_place_are_left_out_and_named(flat_plan, tmp_path):
    _, _, maps, _ = flat_plan
    runs = read_runs_table(write_cohort(tmp_path / "gifti", "gifti"))
    whole = np.random.default_rng(0).normal(1000, 10, (40, CORTEX))
    for run in runs:  # vertices of the medial wall vary, as they do in volumes that were sampled
        for side in "LR":
            write_func(run.bold.with_name(run.bold.name.replace("hemi-L", f"hemi-{side}")), whole)
    plan = plan_store(runs, layout=LayoutSpec("flat", 9, maps), **OPTIONS)
    assert int((~plan.grid.mask).sum()) == 2 * CUT
    said = f"{2 * CUT} vertices and voxels have no place on the flat maps and are in no token: "
    assert f"{said}{CUT} of CORTEX_LEFT, {CUT} of CORTEX_RIGHT" in plan.notes()


def test_the_layout_does_not_depend_on_which_vertices_have_data(flat_plan, tmp_path):
    _, _, maps, cifti = flat_plan
    runs = read_runs_table(write_cohort(tmp_path / "gifti", "gifti"))
    gifti_plan = plan_store(runs, layout=LayoutSpec("flat", 9, maps), **OPTIONS)
    count = sum("CORTEX" in name for name in cifti.grid.names)
    np.testing.assert_array_equal(gifti_plan.grid.centers_mm, cifti.grid.centers_mm[:count])


def test_what_is_no_flat_map_is_refused(flat_plan, tmp_path):
    _, runs, maps, _ = flat_plan

    def planned(surfaces, patch=9):
        return plan_store(runs, layout=LayoutSpec("flat", patch, surfaces), **OPTIONS)

    with pytest.raises(VolumeError, match="must be a flat map in the plane"):
        planned(write_flat(tmp_path, depth=1.0))
    swapped = write_flat(tmp_path, named=("CortexRight", "CortexLeft"))
    with pytest.raises(CohortError, match="the left and then the right one, got CORTEX_RIGHT"):
        planned(swapped)
    planned(swapped[::-1])
    with pytest.raises(CohortError, match="got none for"):
        planned(None)
    with pytest.raises(InputError, match="patch must be larger than 1"):
        square_side({"CORTEX_LEFT": np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]])}, 1)
    with pytest.raises(InputError, match="'mesh' or 'flat'"):
        LayoutSpec(by="order", surfaces=maps)
