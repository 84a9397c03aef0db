"""The first hour of a neuroscientist: own data without clips, folds, new scans, a paper."""

from __future__ import annotations

import json
import shutil

import pytest
from new_user import BY_RUN, PREPARE, SMALL

pytest.importorskip("nilearn")
pytestmark = pytest.mark.slow(seconds=120)


@pytest.fixture
def cohort(shell, first_run):
    """A terminal in a folder with the recordings of two people, and no clips."""
    shutil.copytree(first_run / "cohort", shell.folder / "cohort")
    shutil.rmtree(shell.folder / "cohort" / "stimuli")
    for events in shell.folder.glob("cohort/sub-*/func/*_events.tsv"):
        rows = [row.split("\t") for row in events.read_text().splitlines()]
        kept = [i for i, name in enumerate(rows[0]) if name != "stim_file"]
        events.write_text("\n".join("\t".join(row[i] for i in kept) for row in rows) + "\n")
    (shell.folder / "small.json").write_text(json.dumps(SMALL))
    return shell


def test_from_recordings_to_a_paper(cohort):
    folder = cohort.folder
    # names are those of the folders, or without their prefix
    plan = cohort.run(f"{PREPARE} --test-subjects sub-02 --closed-set --dry-run")
    assert "test" in plan.stdout
    assert not (folder / "store").exists()
    cohort.run(f"{PREPARE} {BY_RUN}")
    assert "no leak found" in cohort.run("fastbrain audit store").stderr
    # there are no clips: texts are the stimulus, and that is said
    trained = cohort.run("fastbrain train store run --config small.json")
    assert "stimulus     text" in trained.stdout
    scored = cohort.run("fastbrain evaluate run --no-bert")
    assert "ridge" in scored.stdout
    facts = json.loads((folder / "run" / "metrics.json").read_text())
    assert {"linear_pairwise", "pairwise"} <= {score["metric"] for score in facts["scores"]}
    assert facts["held"] == {}
    paper = folder / "run" / "paper"
    for name in ("methods.md", "references.bib", "scores.tsv", "quality.tsv", "design.tsv"):
        assert (paper / name).read_text().strip()
    assert (paper / "figures" / "controls.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (paper / "figures" / "controls.svg").read_text()


def test_new_scans_and_bad_ones(trained):
    cohort, folder = trained, trained.folder
    scan = next(folder.glob("cohort/sub-01/func/*run-04_bold.nii.gz"))
    name = scan.relative_to(folder)
    events = str(name).replace("_bold.nii.gz", "_events.tsv")
    cohort.run(f"fastbrain decode run --bold {name} --events {events} --out new.tsv")
    head, *rows = (row.split("\t") for row in (folder / "new.tsv").read_text().splitlines())
    assert head[:2] == ["trial_id", "text"]
    assert {"held", "margin_no_brain", "margin_permuted", "p_no_brain"} <= set(head)
    assert len(rows) == 8
    # intensities in place of a signal: no sentence
    code = f"""
import nibabel as nib, numpy as np
image = nib.load({str(name)!r})
values = np.random.default_rng(0).integers(0, 1000, image.shape).astype(np.int16)
copy = nib.Nifti1Image(values, image.affine)
copy.header.set_xyzt_units("mm", "sec")
copy.header["pixdim"][4] = image.header["pixdim"][4]
nib.save(copy, "noise.nii.gz")
"""
    cohort.python(code)
    cohort.run("fastbrain decode run --bold noise.nii.gz --out texts.json")
    windows = json.loads((folder / "texts.json").read_text())["windows"]
    assert all(window["held"] and not window["text"] for window in windows)
    # a store of scans without texts
    bare = folder / "bare.tsv"
    bare.write_text("onset\tduration\n4\t2\n12\t2\n")
    (folder / "cohort" / "bare.tsv").write_text(bare.read_text())
    (folder / "cohort" / "new.tsv").write_text(
        f"subject\trun\tbold\tevents\n01\t04\t{name.relative_to('cohort')}\tbare.tsv\n"
    )
    cohort.run("fastbrain prepare cohort/new.tsv new-store --like run")
    assert len(cohort.run("fastbrain decode run --store new-store").stdout.splitlines()) == 3


def test_folds_in_one_command(cohort, first_run):
    table = (cohort.folder / "cohort" / "runs.tsv").read_text().splitlines()
    own = [row for row in table if not row.startswith("02\t")]
    (cohort.folder / "cohort" / "one.tsv").write_text("\n".join(own) + "\n")
    line = "fastbrain leave-out cohort/one.tsv folds --by run --kernel 4 4 4 --window 2"
    options = "--folds 3 --no-bert --config small.json --allow-leak small"
    # otherwise a language model of its own would be trained for each fold; test_leave_out.py has it
    done = cohort.run(f"{line} {options} --llm {first_run / 'run' / 'llm'}")
    assert "pairwise" in done.stdout
    assert (cohort.folder / "folds" / "scores.json").is_file()


def test_walls_name_the_door(cohort):
    folder = cohort.folder
    events = next(folder.glob("cohort/sub-01/func/*run-01_events.tsv"))
    whole = events.read_text()
    events.write_text(whole.replace("\t", ","))
    cohort.refused(f"{PREPARE} {BY_RUN}", "commas", "tab")
    late = whole.splitlines()
    late[-1] = "\t".join(["70.0", *late[-1].split("\t")[1:]])
    events.write_text("\n".join(late) + "\n")
    cohort.refused(f"{PREPARE} {BY_RUN}", "--late drop")
    told = cohort.run(f"{PREPARE} {BY_RUN} --late drop --dry-run")
    assert "1 of 64 trials are left out" in told.stderr
    events.write_text(whole)
    lines = {
        "fastbrain decode store": "store must be",
        "fastbrain train nothing run": "no such folder",
    }
    cohort.refused_in_turn(lines)
