"""Decode new scans, other stores and a run's own store, with every system."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

import fastbrain as fb
from fastbrain.cli import main
from fastbrain.data import VoxelStore, plan_like, write_store
from fastbrain.data.store.planning_like import scan_records
from fastbrain.errors import CohortError, InputError, StoreError
from fastbrain.inference import decode

SYSTEMS = ("llm4brain", "brainllm")
pytestmark = pytest.mark.slow


def without_texts(events, out):
    """The same events, with onset and duration alone."""
    rows = [line.split("\t") for line in events.read_text().splitlines()]
    kept = [rows[0].index(name) for name in ("onset", "duration")]
    out.write_text("\n".join("\t".join(row[i] for i in kept) for row in rows) + "\n")
    return out


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_engine_decodes_the_same_texts(trained, tmp_path, capsys, system):
    plain = decode(trained.run(system))
    # equal texts of two decoders would say nothing if all windows had one text
    assert len(set(plain.texts)) > 1
    assert plain.facts["texts_by"] == "generate"
    out = tmp_path / "decoded.json"
    assert main(["decode", str(trained.run(system)), "--engine", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["texts_by"] == "decode engine"
    assert "note" not in capsys.readouterr().err
    assert [window["text"] for window in found["windows"]] == list(plain.texts)
    line = ["decode", str(trained.run(system)), "--engine", "--method", "sample"]
    assert main([*line, "--no-confidence", "--out", str(out)]) == 0
    assert "texts_by_reason" in json.loads(out.read_text())
    assert "without the decode engine: a seed stands for" in capsys.readouterr().err


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_scan_decodes_as_its_stored_windows_do(trained, tmp_path, system):
    own = decode(trained.run(system), confidence=False)
    images, events = trained.scans("04", "05")
    bare = [without_texts(e, tmp_path / f"{i}.tsv") for i, e in enumerate(events)]
    found = decode(trained.run(system), images, events=bare, confidence=False)
    assert found.texts == own.texts
    assert [w.onset for w in found.windows] == [w.onset for w in own.windows]
    assert not found.held


@pytest.mark.parametrize("system", SYSTEMS)
def test_scans_are_decoded_where_the_store_is_gone(trained, tmp_path, system):
    run = tmp_path / "moved" / system
    shutil.copytree(trained.run(system), run)
    manifest = json.loads((run / "manifest.json").read_text())
    gone = {"store": str(tmp_path / "gone"), "store_beside": "gone"}
    (run / "manifest.json").write_text(json.dumps(manifest | gone))
    (image,), _ = trained.scans("04")
    assert fb.decode(run, image, confidence=False).texts
    with pytest.raises(fb.FastbrainError, match="--store STORE"):
        decode(run)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_saved_model_has_a_card(trained, system):
    text = (trained.run(system) / "model" / "README.md").read_text()
    for said in (
        "| people | 1: 1 train, 1 val, 1 test; one may be in several parts |",
        "| voxel statistics fitted on | training windows of 2 runs |",
        "| license of the language model | not stated in its files",
        "allowed because: texts recur in a cohort this small",
        "Do not use it on anyone without consent", "Not evaluated", "16 train, 8 val, 16 test",
    ):  # fmt: skip
        assert said in text, said
    assert str(trained.root) not in text


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_pipeline_gives_the_texts_of_decode(trained, system):
    read = fb.pipeline("brain-to-text", model=trained.run(system), confidence=False)
    images, events = trained.scans("04", "05")
    found = read(images, events=events)
    wanted = decode(trained.run(system), images, events=events, confidence=False)
    assert [row["text"] for row in found] == list(wanted.texts)
    assert [row["trial_id"] for row in found] == [w.trial_id for w in wanted.windows]
    assert [row["text"] for row in read(trained.store, part="test")] == list(
        decode(trained.run(system), confidence=False).texts
    )


def test_a_run_without_a_preparation_reads_that_of_its_store(trained, tmp_path):
    run, store = tmp_path / "run", tmp_path / "store"
    shutil.copytree(trained.run("llm4brain"), run)
    shutil.rmtree(run / "preparation")
    shutil.copytree(trained.store.path, store)
    manifest = json.loads((run / "manifest.json").read_text())
    gone = {"store": str(tmp_path / "gone"), "store_beside": "gone"}
    (run / "manifest.json").write_text(json.dumps(manifest | gone))
    (image,), _ = trained.scans("04")
    with pytest.raises(fb.FastbrainError, match="--store STORE"):
        decode(run, image)
    found = decode(run, image, store=store, confidence=False)
    assert found.texts == decode(trained.run("llm4brain"), image, confidence=False).texts


def test_windows_at_a_fixed_step(trained, capsys):
    (image,), _ = trained.scans("04")
    run = trained.run("llm4brain")
    volumes = nib.load(image).shape[3]
    every = decode(run, image, every=3, confidence=False)
    assert len(every.windows) == len(range(0, volumes - 1, 3))
    tr, delay = trained.store.tr, trained.store.window_spec.delay_s
    assert every.windows[2].onset == pytest.approx(6 * tr - delay)
    assert len(decode(run, image, confidence=False).windows) == volumes // 2
    assert "one every 2 volumes" in capsys.readouterr().err


def test_recordings_of_the_training_part_are_named(trained, capsys):
    run = trained.run("llm4brain")
    decode(run, confidence=False)
    assert "trained on" not in capsys.readouterr().err
    (image,), _ = trained.scans("01")
    decode(run, image, confidence=False)
    said = f"{trained.store.fit_runs[0]}: recordings with these names were trained on"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_store_prepared_like_the_run(trained, tmp_path, system):
    runs = [
        replace(run, events=without_texts(run.events, tmp_path / f"{run.run_id}.tsv"))
        for run in trained.runs
        if run.run in ("04", "05")
    ]
    store = write_store(plan_like(runs, trained.store), tmp_path / "new")
    assert (store.split.train, store.split.val) == ((), ())
    for name in ("mean", "inv_std", "mean_image"):
        np.testing.assert_array_equal(getattr(store, name), getattr(trained.store, name))
    assert store.fit_runs == trained.store.fit_runs
    found = decode(trained.run(system), store=store.path, confidence=False)
    assert found.facts["part"] == "all"
    assert found.texts == decode(trained.run(system), confidence=False).texts


def test_the_command_prepares_and_decodes_a_test_only_store(trained, tmp_path, capsys):
    new, out = tmp_path / "new", tmp_path / "out.tsv"
    run = str(trained.run("llm4brain"))
    table = str(trained.root / "cohort" / "runs.tsv")
    assert main(["prepare", table, str(new), "--like", run]) == 0
    assert "0 train, 0 val, 40 test" in capsys.readouterr().out
    assert main(["decode", run, "--store", str(new), "--out", str(out)]) == 0
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert lines[0][:2] == ["trial_id", "text"]
    assert len(lines) == 41
    assert main(["prepare", table, str(tmp_path / "x"), "--like", run, "--kernel", "2", "2", "2"])
    assert "--kernel must be left out for --like" in capsys.readouterr().err
    other = tmp_path / "other"
    split = ["--split-by", "run", "--train", "01", "--val", "02", "--test", "03", "--closed-set"]
    assert (
        main(["prepare", table, str(other), "--kernel", "2", "2", "2", "--window", "2", *split])
        == 0
    )
    capsys.readouterr()
    assert main(["decode", run, "--store", str(other)]) == 1
    assert "must have the mask, kernel or stride of training" in capsys.readouterr().err


def test_a_store_to_decode_cannot_train(trained, tmp_path, capsys):
    store = write_store(plan_like(trained.runs[3:], trained.store), tmp_path / "new")
    for kind in ("llm4brain", "brainllm", "scmbm"):
        assert main(["train", kind, str(store.path), str(tmp_path / "run")]) == 1
        assert "train must have trials, got none" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("system", SYSTEMS)
def test_confidence_stands_beside_that_of_noise(trained, system):
    found = decode(trained.run(system))
    windows = found.windows
    assert len({w.chance_no_brain for w in windows}) == 1
    for w in windows:
        assert 0 < w.p_no_brain <= 1
        assert 0 < w.p_permuted <= 1
        assert w.margin_no_brain is not None
        assert w.margin_permuted is not None
    assert decode(trained.run(system)) == found


def test_table_and_json_hold_the_same(trained, tmp_path):
    run, (images, events) = str(trained.run("llm4brain")), trained.scans("04")
    words = ["decode", run, "--bold", str(images[0]), "--events", str(events[0])]
    for name in ("out.tsv", "out.json"):
        assert main([*words, "--out", str(tmp_path / name)]) == 0
    value = json.loads((tmp_path / "out.json").read_text())
    head, *rows = (line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines())
    assert len(rows) == len(value["windows"]) == 8
    for row, window in zip(rows, value["windows"], strict=True):
        shown = dict(zip(head, row, strict=True))
        assert shown["text"] == window["text"]
        assert float(shown["margin_no_brain"]) == window["margin_no_brain"]
    assert value["bold"] == [str(images[0])]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bold": "a.nii", "store": "s"}, "bold must be given without store"),
        ({"events": "e.tsv"}, "must come with bold"),
        ({"bold": "a.nii", "events": "e.tsv", "every": 2}, "events and every"),
    ],
)
def test_contradicting_arguments_are_refused(trained, options, words):
    with pytest.raises(InputError, match=words):
        decode(trained.run("llm4brain"), **options)


def test_scans_and_tables_must_agree_in_number(trained):
    images, events = trained.scans("04", "05")
    with pytest.raises(CohortError, match="one table for each scan"):
        decode(trained.run("llm4brain"), images, events=events[:1])
    with pytest.raises(CohortError, match="each scan once"):
        decode(trained.run("llm4brain"), [images[0], images[0]])


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a/x.nii", "b/x.nii", "c/x.nii"], ["x", "x_2", "x_3"]),
        (["a/x_3.nii", "b/x.nii", "c/x.nii"], ["x_3", "x", "x_2"]),
        (["a/x.nii", "b/x_2.nii", "c/x.nii"], ["x", "x_2", "x_3"]),
    ],
)
def test_scans_of_one_name_get_names_of_their_own(names, found):
    assert [record.run_id for record in scan_records(names)] == found


def test_a_damaged_preparation_is_refused(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.run("llm4brain"), run)
    path = run / "preparation" / "mean_image.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    (image,), _ = trained.scans("04")
    with pytest.raises(StoreError, match="mean_image"):
        decode(run, image)
    assert VoxelStore.open(trained.run("llm4brain") / "preparation").trials == []
