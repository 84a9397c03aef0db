"""Collections of stores with a grid for each person: planning, files, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from run_splits import by_run

from fastbrain.data import (
    StoreCollection,
    VoxelStore,
    WindowSpec,
    open_store,
    plan_like,
    plan_native_grids,
    plan_store,
    prepare_store,
    split_by,
    token_centers,
    write_collection,
    write_store,
)
from fastbrain.data.store.denoising.strategy import Denoising
from fastbrain.data.store.exclusion import Exclusion
from fastbrain.data.store.target_grid import with_axes_of
from fastbrain.errors import CohortError, LeakError, SplitError, StoreError

OPTIONS = {
    "window": WindowSpec(4.0, 3),
    "kernel": (2, 2, 3),
    "split": by_run,
    "high_pass_s": None,
}


@pytest.fixture
def plan(two_grids):
    return plan_native_grids(two_grids, **OPTIONS)


def test_each_store_is_that_of_the_person_alone(two_grids, plan, tmp_path):
    whole = write_collection(plan, tmp_path / "all")
    runs = two_grids
    for person in ("01", "02"):
        own = [run for run in runs if run.subject == person]
        alone = prepare_store(own, tmp_path / person, **OPTIONS)
        member = whole.stores[f"sub-{person}"]
        if person == "01":
            assert member.fingerprint() == alone.fingerprint()
            continue
        # the images of the second person are turned to the axes of the first: same values elsewhere
        assert member.grid.shape == alone.grid.shape == (7, 6, 7)
        assert not np.allclose(member.affine, alone.affine)
        for run in own:
            turned = member.grid.unpack(np.asarray(member.run(run.run_id)))[..., ::-1]
            np.testing.assert_array_equal(
                turned, alone.grid.unpack(np.asarray(alone.run(run.run_id)))
            )
        np.testing.assert_allclose(
            np.sort(member.mean[member.inv_std > 0]), np.sort(alone.mean[alone.inv_std > 0]),
            atol=1e-6,
        )  # fmt: skip


def with_motion(runs, root):
    """Add confounds tables; volume 33 of one run jumps."""
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    found = []
    for i, run in enumerate(runs):
        motion = 0.01 * np.random.default_rng(i).standard_normal((60, 6))
        moved = np.full(60, 0.1)
        moved[33] = 2.0 if run.run_id == "sub-02_run-01" else 0.1
        path = root / f"{run.run_id}_desc-confounds_timeseries.tsv"
        rows = ["\t".join([*names, "framewise_displacement"])]
        rows += [
            "\t".join(f"{v:.6f}" for v in (*row, fd)) for row, fd in zip(motion, moved, strict=True)
        ]
        path.write_text("\n".join(rows) + "\n")
        found.append(replace(run, confounds=path))
    return found


def test_denoising_and_left_out_runs(two_grids, tmp_path):
    runs = with_motion(two_grids, tmp_path)
    strategy = Denoising.parse(["motion:6", "fd:0.9"], censor="drop")
    copied = shutil.copy(runs[-1].bold, tmp_path / "spare.nii.gz")
    spare = [replace(runs[-1], run_id="sub-02_run-03b", run="04", bold=copied)]
    options = {**OPTIONS, "denoising": strategy}
    plan = plan_native_grids(
        [*runs, *spare], exclude=Exclusion(runs={spare[0].run_id: "asleep"}), **options
    )
    first, second = plan.members["sub-01"], plan.members["sub-02"]
    assert second.excluded == {"sub-02_run-03b": "asleep"}
    assert first.excluded == {}
    # the window of the onset at 60 s begins with volume 32
    assert second.censored_trials == ("sub-02_run-01_trial-006",)
    assert first.censored_trials == ()
    found = write_collection(plan, tmp_path / "all")
    alone = prepare_store(runs[:3], tmp_path / "alone", **options)
    assert found.stores["sub-01"].fingerprint() == alone.fingerprint()
    assert found.stores["sub-02"].info.runs["sub-02_run-01"]["censored"] == [33]


def test_reading_by_trial(plan, tmp_path):
    found = write_collection(plan, tmp_path / "all")
    assert isinstance(open_store(tmp_path / "all"), StoreCollection)
    assert isinstance(open_store(tmp_path / "all" / "grids" / "sub-01"), VoxelStore)
    assert len(found.trials) == len(found.by_id) == 2 * 3 * 8
    assert found.split == by_run(found.trials)
    for trial in found.trials[::5]:
        name = f"sub-{trial.subject}"
        assert found.grid_of(trial.trial_id) == name
        assert found.store_of(trial.trial_id) is found.stores[name]
        np.testing.assert_array_equal(
            found.window(trial.trial_id), found.stores[name].window(trial.trial_id)
        )
    assert (
        found.window(found.trials[0].trial_id).shape
        != found.window(found.trials[-1].trial_id).shape
    )
    assert (found.tr, found.units, found.window_spec) == (2.0, "psc", OPTIONS["window"])
    with pytest.raises(StoreError, match="must be a trial"):
        found.window("nobody")


def test_the_filter_is_chosen_from_all_people(two_grids):
    plan = plan_native_grids(two_grids, **{**OPTIONS, "high_pass_s": "auto"})
    filters = {member.filter.to_json()["trials"] for member in plan.members.values()}
    assert filters == {2 * 8}
    assert "2 subjects, each on its own grid" in plan.summary()["runs"]
    assert plan.summary()["sub-02"].startswith("(Z, Y, X) = (7, 6, 7), ")


@pytest.mark.parametrize("turn", [[[0, 0, -4.0], [5.0, 0, 0], [0, 3.0, 0]], np.diag([3.0, -3, 4])])
def test_reordered_axes_keep_every_voxel_in_place(turn):
    shape, affine, like = (5, 6, 7), np.eye(4), np.diag([-2.0, 2, 2, 1])
    affine[:3, :3], affine[:3, 3] = turn, (5, -7, 11)
    found = with_axes_of(shape, affine, like, name="n")
    assert nib.aff2axcodes(found.affine) == nib.aff2axcodes(like)

    def places(size, matrix):
        voxels = np.stack(np.meshgrid(*map(np.arange, size[::-1]), indexing="ij"), -1)
        world = voxels.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        return np.array(sorted(world.round(6).tolist()))

    np.testing.assert_allclose(places(found.shape, found.affine), places(shape, affine))


def test_positions_count_from_the_centre_of_the_brain_if_asked(two_grids, tmp_path):
    runs = two_grids
    moved = []
    for run in runs:
        if run.subject == "02":
            for path in {run.bold, run.mask}:
                image = nib.load(path)
                if image.affine[1, 3] < 90:
                    affine = image.affine.copy()
                    affine[1, 3] += 100
                    header = image.header.copy()
                    header.set_sform(affine)
                    header.set_qform(affine)
                    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine, header), path)
        moved.append(run)
    world = plan_native_grids(moved, **OPTIONS)
    assert any("lie 1" in note and "--centred" in note for note in world.notes())
    plan = plan_native_grids(moved, centred=True, **OPTIONS)
    assert plan.joint_notes() == []
    assert any(note.startswith("sub-02: grid is resampled from") for note in plan.notes())
    found = write_collection(plan, tmp_path / "all")
    assert found.centred
    middles = [token_centers(store).mean(axis=0) for store in found.stores.values()]
    # patches at the edge of a brain count as whole ones: half a patch of 10 mm
    np.testing.assert_allclose(middles[0], middles[1], atol=5)
    np.testing.assert_allclose(middles[0], (0, -22, 10), atol=5)


def test_without_events(two_grids, tmp_path):
    options = {**OPTIONS, "split": lambda t: split_by(t, "run", train=["01"], val=["02"], test=[])}
    plan = plan_native_grids(two_grids, events=False, every=4, **options)
    found = write_collection(plan, tmp_path / "rest")
    assert len(found.split.train) == 2 * len(range(0, 58, 4))
    assert found.trials[0].text == ""


def test_people_without_training_are_refused(two_grids):
    with pytest.raises(SplitError, match=r"sub-01 must have trials in every part.*--resample"):
        plan_native_grids(
            two_grids,
            **{**OPTIONS, "split": lambda t: dataclasses.replace(
                by_run(t), val=tuple(i for i in by_run(t).val if "sub-02" in i))},
        )  # fmt: skip


def test_a_person_on_two_grids_is_refused(two_grids):
    runs = [replace(run, subject="01") for run in two_grids]
    with pytest.raises(CohortError, match="must share with"):
        plan_native_grids(runs, **OPTIONS)


def test_new_runs_of_a_person_keep_its_positions(plan, two_grids, tmp_path):
    centred = replace(plan, members={
        name: replace(member, origin_mm=(1.0, 2.0, 3.0)) for name, member in plan.members.items()
    })  # fmt: skip
    member = write_collection(centred, tmp_path / "all").stores["sub-02"]
    new = [replace(run, run_id="new") for run in two_grids if run.run_id == "sub-02_run-03"]
    like = write_store(plan_like(new, member), tmp_path / "new")
    np.testing.assert_array_equal(token_centers(like), token_centers(member))
    np.testing.assert_array_equal(like.run("new"), member.run("sub-02_run-03"))


def test_a_leaking_split_is_refused(two_grids):
    def leaking(trials):
        split = by_run(trials)
        return replace(split, test=split.test + split.train[:1])

    with pytest.raises(LeakError, match="must be in one part only"):
        plan_native_grids(two_grids, **{**OPTIONS, "split": leaking})
    with pytest.raises(CohortError, match="--native-grids"):
        plan_store(two_grids, **OPTIONS)
