"""A store with declared denoising: its numbers, its censored volumes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from run_splits import by_run

from fastbrain.cli import main
from fastbrain.data import (
    Denoising,
    Exclusion,
    Split,
    VoxelStore,
    WindowSpec,
    plan_like,
    plan_native_grids,
    plan_rest,
    plan_store,
    prepare_store,
    read_runs_table,
    write_store,
)
from fastbrain.data.readers.tables import read_tsv
from fastbrain.data.store.denoising.table import read_confounds_of
from fastbrain.data.store.design import run_design
from fastbrain.data.store.preparation import check_like
from fastbrain.errors import CohortError, FastbrainError, InputError, StoreError
from fastbrain.realtime.preprocess.pipeline import VolumePipeline

WINDOW = WindowSpec(delay_s=4.0, window_trs=3)
N, HIGH_PASS_S, STEP_PSC = 60, 50.0, 0.005
# half a stored step, plus what float32 loses on intensities near 3000
TOLERANCE_PSC = 0.5 * STEP_PSC + 4e-4
BAD = (16, 33)  # volumes with motion in run 01 of subject 01

OPTIONS = {"window": WINDOW, "kernel": (2, 2, 3), "split": by_run, "high_pass_s": HIGH_PASS_S}
MOTION = Denoising.parse(["motion:6", "wm_csf"])
SCRUB = Denoising.parse(["motion:6", "fd:0.5"])


@pytest.fixture
def table(cohort):
    """A cohort whose runs have confounds tables; a head moves in the first run."""
    path = cohort(runs=3, subjects=2)
    head, *rows = path.read_text().splitlines()
    written = [head + "\tconfounds"]
    rng = np.random.default_rng(0)
    for i, row in enumerate(rows):
        name = f"confounds-{i}.tsv"
        columns = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
        columns += ["csf", "white_matter", "framewise_displacement"]
        values = np.cumsum(rng.normal(size=(N, len(columns))), axis=0)
        fd = np.full(N, 0.05 * (1 + i))
        fd[list(BAD) if i == 0 else []] = 0.9
        lines = ["\t".join(columns)]
        for t in range(N):
            cells = [f"{v:.8g}" for v in values[t, :-1]]
            lines.append("\t".join([*cells, "n/a" if t == 0 else f"{fd[t]:g}"]))
        (path.parent / name).write_text("\n".join(lines) + "\n")
        written.append(f"{row}\t{name}")
    path.write_text("\n".join(written) + "\n")
    return path


@pytest.fixture
def runs(table):
    return read_runs_table(table)


def truth(run, mask, strategy):
    """The cleaned run in float64, percent: one least squares over the kept volumes, (T, V)."""
    x = nib.load(run.bold).get_fdata().T[:, mask]
    known = read_confounds_of(run, strategy, N)
    t = np.arange(N)
    cosines = [np.cos(np.pi / N * (t + 0.5) * k) for k in range(1, int(2 * N * 2 / 50) + 1)]
    scaled = (known.values - known.values.mean(0)) / known.values.std(0)
    design = np.stack([np.ones(N), t / N, *cosines, *scaled.T], axis=1)
    kept = ~known.censored
    found = x - design @ np.linalg.lstsq(design[kept], x[kept], rcond=None)[0]
    return 100 * found / x[kept].mean(0), known.censored


@pytest.mark.parametrize("censor", ["drop", "interpolate", "keep"])
def test_values_against_float64(runs, tmp_path, censor):
    strategy = replace(SCRUB, censor=censor)
    store = prepare_store(runs, tmp_path / "out", denoising=strategy, **OPTIONS)
    assert VoxelStore.open(store.path, verify=True).denoising == strategy
    for run in runs[:2]:
        expected, censored = truth(run, store.grid.mask, strategy)
        facts = store.info.runs[run.run_id]
        assert facts["censored"] == np.flatnonzero(censored).tolist()
        assert facts["confounds"] == 6
        if censor != "keep":
            for v in expected.T:
                v[censored] = np.interp(
                    np.flatnonzero(censored), np.flatnonzero(~censored), v[~censored]
                )
        image = np.zeros((N, *store.grid.shape))
        image[:, store.grid.mask] = expected
        flat = image.reshape(N, -1)
        stored = store.run(run.run_id) * store.scale
        wanted = np.where(store.grid.patch_mask, flat[:, store.grid.offsets], 0)
        np.testing.assert_allclose(stored, wanted, atol=TOLERANCE_PSC)


def test_windows_that_touch_censored_volumes(runs, tmp_path, capsys):
    plain = plan_store(runs, **OPTIONS)
    touched = {
        t.trial_id
        for t in plain.trials
        if t.run_id == runs[0].run_id and any(t.start <= b < t.start + t.frames for b in BAD)
    }
    assert touched
    plan = plan_store(runs, denoising=SCRUB, **OPTIONS)
    assert {t.trial_id for t in plain.trials} - {t.trial_id for t in plan.trials} == touched
    assert set(plan.censored_trials) == touched
    assert any("hold censored volumes" in note for note in plan.notes())
    for censor in ("interpolate", "keep"):
        whole = plan_store(runs, denoising=replace(SCRUB, censor=censor), **OPTIONS)
        assert len(whole.trials) == len(plain.trials)
        assert not set(BAD) & set(whole.training_volumes()[runs[0].run_id].tolist())
        assert set(BAD) & set(plain.training_volumes()[runs[0].run_id].tolist())
    # a split that is given loses these trials, and only these
    split = plain.split
    plan = plan_store(runs, denoising=SCRUB, **{**OPTIONS, "split": split})
    assert set(split.train) - set(plan.split.train) == touched
    wrong = replace(split, train=(*split.train, "nobody_trial-1"))
    with pytest.raises(FastbrainError, match="nobody_trial-1"):
        plan_store(runs, denoising=SCRUB, **{**OPTIONS, "split": wrong})


def test_statistics_leave_out_censored_volumes(runs, tmp_path):
    strategy = replace(SCRUB, censor="keep")
    store = prepare_store(runs, tmp_path / "out", denoising=strategy, **OPTIONS)
    rows = [t for t in store.trials if t.trial_id in set(store.split.train)]
    values = []
    for run_id in store.fit_runs:
        covered = {v for t in rows if t.run_id == run_id for v in range(t.start, t.start + 3)}
        kept = sorted(covered - set(store.info.runs[run_id]["censored"]))
        values.append(store.run(run_id)[kept].astype(float) * store.scale)
    joined = np.concatenate(values)
    assert store.info.fit["n_volumes"] == len(joined)
    np.testing.assert_allclose(store.mean, joined.mean(0), atol=1e-5)


@pytest.mark.parametrize("censor", ["interpolate", "keep"])
def test_limits_of_windows_do_not_depend_on_censored_volumes(runs, tmp_path, censor):
    strategy = replace(SCRUB, censor=censor)
    image = nib.load(runs[0].bold)
    image.header.set_data_dtype(np.float32)
    values = image.get_fdata()

    def prepared(name):
        nib.save(nib.Nifti1Image(values, image.affine, image.header), runs[0].bold)
        return prepare_store(runs, tmp_path / name, denoising=strategy, **OPTIONS)

    one = prepared("one")
    values[..., list(BAD)] = 6000 * np.random.default_rng(0).random(values[..., list(BAD)].shape)
    other = prepared("other")
    first = runs[0].run_id
    changed = (one.run(first) != other.run(first)).any(axis=(1, 2))
    assert np.flatnonzero(changed).tolist() == (list(BAD) if censor == "keep" else [])
    assert any(t.start <= BAD[0] < t.start + t.frames for t in one.trials if t.run_id == first)
    for name in ("mean", "inv_std", "mean_image"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.limits == other.limits


def test_runs_without_a_table_are_all_named_before_any_work(runs, tmp_path):
    bare = [replace(run, confounds=None) if i in (1, 3) else run for i, run in enumerate(runs)]
    with pytest.raises(CohortError, match=f"{runs[1].run_id}, {runs[3].run_id}"):
        prepare_store(bare, tmp_path / "out", denoising=MOTION, **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_too_many_regressors_are_refused_with_the_run(runs):
    for run in runs:
        rng = np.random.default_rng(1)
        lines = run.confounds.read_text().splitlines()
        noise = [f"cosine{k:02d}" for k in range(50)]
        more = ["\t".join(noise)] + [
            "\t".join(f"{v:g}" for v in r) for r in rng.normal(size=(N, 50))
        ]
        run.confounds.write_text("\n".join(a + "\t" + b for a, b in zip(lines, more, strict=True)))
    with pytest.raises(CohortError, match=f"{runs[0].run_id}.*fifth of the volumes"):
        plan_store(runs, denoising=Denoising.parse(["cosine"]), **OPTIONS)


def test_the_design_check_covers_confounds(runs):
    """Confounds that follow the events are found, and told apart from many regressors."""
    plain = plan_store(runs, **OPTIONS).filter
    assert (plain.with_confounds, plain.noise) == ({}, 0)
    found = plan_store(runs, denoising=MOTION, **OPTIONS).filter
    assert found.removed == plain.removed
    for name, share in found.with_confounds.items():
        assert share >= found.removed[name]
    drifts = int(2 * N * 2 / 50) + 2
    assert found.noise == pytest.approx(8 / (N - drifts), abs=1e-3)
    trials = plan_store(runs, **OPTIONS).trials
    for run in runs:
        own = [t for t in trials if t.run_id == run.run_id]
        task = run_design(own, n_volumes=N, tr=2.0, key=lambda t: t.stimulus).responses[:, :6]
        head, *lines = run.confounds.read_text().splitlines()
        rows = ["\t".join([*map("{:.8g}".format, t), *line.split("\t")[6:]])
                for t, line in zip(task, lines, strict=True)]  # fmt: skip
        run.confounds.write_text("\n".join([head, *rows]) + "\n")
    plan = plan_store(runs, denoising=Denoising.parse(["minimal"]), **OPTIONS)
    assert "with confounds" in plan.summary()
    assert min(plan.filter.with_confounds.values()) > 0.75
    assert "they vary with the events" in plan.filter.confounds_warning()
    assert plan.filter.confounds_warning() in plan.notes()


def test_new_scans_need_confounds_too(runs, tmp_path):
    store = prepare_store(runs, tmp_path / "out", denoising=SCRUB, **OPTIONS)
    bare = [replace(run, confounds=None) for run in runs[:2]]
    with pytest.raises(CohortError, match="store of training was declared to be denoised"):
        plan_like(bare, store)
    like = write_store(plan_like(runs[:2], store), tmp_path / "like")
    assert like.denoising == SCRUB
    np.testing.assert_array_equal(like.run(runs[0].run_id), store.run(runs[0].run_id))
    check_like(like, store)
    other = prepare_store(runs, tmp_path / "other", denoising=MOTION, **OPTIONS)
    with pytest.raises(StoreError, match="must have the denoising of training"):
        check_like(other, store)
    with pytest.raises(InputError, match="prepared without confounds"):
        VolumePipeline.from_run(store)
    rest = plan_rest(runs, split=by_run, grid_of=store)
    assert rest.denoising == SCRUB
    assert rest.censored_trials


def test_native_grids_are_denoised_too(runs, tmp_path):
    exclude = Exclusion(runs={runs[5].run_id: "asleep"})
    options = {**OPTIONS, "split": _by_run_of_two}
    plan = plan_native_grids(runs, denoising=SCRUB, exclude=exclude, **options)
    one, two = plan.members["sub-01"], plan.members["sub-02"]
    assert (one.denoising, two.denoising) == (SCRUB, SCRUB)
    assert one.censored_trials
    assert not two.censored_trials
    assert (dict(one.excluded), dict(two.excluded)) == ({}, {runs[5].run_id: "asleep"})
    assert plan.members["sub-01"].filter.with_confounds
    rest = plan_native_grids(runs, denoising=SCRUB, events=False, **OPTIONS)
    assert rest.members["sub-01"].censored_trials
    with pytest.raises(CohortError, match="must have a confounds table"):
        plan_native_grids(
            [replace(run, confounds=None) for run in runs], denoising=SCRUB, **OPTIONS
        )


def _by_run_of_two(trials):
    """The excluded run is the test run of its person: its other test run takes the place."""
    ids = {name: [t.trial_id for t in trials if t.run == name] for name in ("01", "02", "03")}
    late = [t for t in trials if t.run == "02" and t.subject == "02" and t.onset > 50]
    moved = {t.trial_id for t in late}
    val = tuple(i for i in ids["02"] if i not in moved)
    return Split(tuple(ids["01"]), val, (*ids["03"], *moved), guard_trs=0, keys=())


def test_excluded_runs_are_listed_with_their_reason(runs, tmp_path):
    exclude = Exclusion(mean_fd_mm=0.27, runs={runs[3].run_id: "fell asleep"})
    store = prepare_store(runs, tmp_path / "out", denoising=MOTION, exclude=exclude, **OPTIONS)
    assert store.info.excluded == {
        runs[3].run_id: "fell asleep",
        runs[5].run_id: "mean framewise displacement 0.300 mm, above 0.27 mm",
    }
    assert set(store.info.runs) == {runs[i].run_id for i in (0, 1, 2, 4)}
    _, rows = read_tsv(store.path / "quality.tsv")
    assert {row["run"]: row["reason"] for row in rows if row["included"] == "no"} == {
        runs[3].run_id: "fell asleep",
        runs[5].run_id: "mean framewise displacement 0.300 mm, above 0.27 mm",
    }
    with pytest.raises(CohortError, match="must be left, got none"):
        plan_store(runs, exclude=Exclusion(mean_fd_mm=0.01), **OPTIONS)
    with pytest.raises(CohortError, match="name runs of the cohort, got nobody"):
        plan_store(runs, exclude=Exclusion(runs={"nobody": ""}), **OPTIONS)
    with pytest.raises(CohortError, match="must come with a threshold"):
        plan_store(runs, exclude=Exclusion(censored_share=0.5), **OPTIONS)


def test_resuming_needs_the_same_strategy_and_tables(runs, tmp_path):
    out = tmp_path / "out"
    store = prepare_store(runs, out, denoising=SCRUB, **OPTIONS)
    again = prepare_store(runs, out, denoising=SCRUB, resume=True, **OPTIONS)
    assert again.fingerprint() == store.fingerprint()
    with pytest.raises(StoreError, match="denoising"):
        prepare_store(runs, out, denoising=MOTION, resume=True, **OPTIONS)
    text = runs[1].confounds.read_text()
    runs[1].confounds.write_text(text.replace("0.1\n", "0.7\n", 1))
    with pytest.raises(StoreError, match=f"run {runs[1].run_id}"):
        prepare_store(runs, out, denoising=SCRUB, resume=True, **OPTIONS)


@pytest.mark.parametrize(
    "change",
    [
        *({"censored": [60]}, {"censored": [3, 3]}, {"confounds": -1}),
        *({"quality": {"a": "b"}}, {"start_time": "late"}),
    ],
)
def test_damaged_entries_of_runs_are_refused(runs, tmp_path, reseal, change):
    store = prepare_store(runs, tmp_path / "out", denoising=SCRUB, **OPTIONS)
    facts = store.info.runs
    facts[runs[0].run_id] |= change
    reseal(store.path, runs=facts)
    with pytest.raises(StoreError, match="runs is damaged"):
        VoxelStore.open(store.path)


def test_the_command_declares_and_tells_the_strategy(table, tmp_path, capsys):
    split = ["--train", "01", "--val", "02", "--test", "03"]
    args = ["prepare", str(table), str(tmp_path / "s"), "--kernel", "2", "2", "3", "--window", "3"]
    options = ["--confounds", "motion:6", "wm_csf", "fd:0.5", "--censor", "interpolate"]
    named = ["--exclude", "sub-02_run-03:asleep", "sub-02_run-03", "sub-02_run-03:moved"]
    named += ["--high-pass", "50"]
    assert main([*args, "--split-by", "run", *options, *named, "--dry-run", *split]) == 0
    shown = capsys.readouterr()
    assert "8 regressors a run" in shown.out
    assert "2 of 300 volumes" in shown.out
    assert "run sub-02_run-03 is left out: asleep; moved" in shown.err
    assert main([*args, "--split-by", "run", "--censor", "keep", *split]) != 0
    assert "--censor must come with a threshold" in capsys.readouterr().err
    betas = ["prepare", str(table), str(tmp_path / "s"), "--betas", "--confounds", "standard"]
    assert main([*betas, *split, "--split-by", "run"]) != 0
    assert "--confounds must be left out for --betas" in capsys.readouterr().err
