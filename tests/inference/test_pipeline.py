"""One call from a trained model to texts: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import importlib
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from fake_hub import hub_in

import fastbrain as fb
from fastbrain.data import load_volumes
from fastbrain.data.store.preparation import save_preparation
from fastbrain.errors import CheckpointError, CohortError, InputError, VolumeError
from fastbrain.inference import BrainToText, decode

FAR = np.diag([3.0, 3.0, 3.0, 1.0])
FAR[:3, 3] = 900.0


def opened(run, **options) -> BrainToText:
    return fb.pipeline("brain-to-text", model=run, **{"confidence": False, **options})


@pytest.fixture(scope="module")
def run(finished_run, store, tmp_path_factory):
    """The finished run with its preparation, as training leaves it."""
    copy = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(finished_run, copy)
    save_preparation(store, copy)
    return copy


@pytest.fixture(scope="module")
def read(run):
    return opened(run)


@pytest.fixture(scope="module")
def scan(store):
    """The image and events of a run of the test subject."""
    root = store.path.parent
    return root / "sub-02_run-01_bold.nii", root / "sub-02_run-01_events.tsv"


def test_a_store_reads_as_decode_does(run, store):
    found = opened(run, confidence=True)(store, part="test")
    wanted = decode(run, store=store.path)
    assert [row["text"] for row in found] == list(wanted.texts)
    assert [row["onset_s"] for row in found] == [w.onset for w in wanted.windows]
    names = ("trial_id", "subject", "margin_no_brain", "chance_no_brain", "p_permuted")
    for name in names:
        assert [row[name] for row in found] == [getattr(w, name) for w in wanted.windows]
    assert "onset" not in found[0]


def test_every_kind_of_recording_gives_the_same_texts(read, run, scan):
    image, events = scan
    wanted = decode(run, image, events=events, confidence=False).texts
    values = nib.load(image)
    array = np.asarray(values.dataobj).T  # (T, Z, Y, X)
    place = {"tr": 2.0, "affine": values.affine}
    for inputs, options in (
        (image, {}),
        (str(image), {}),
        ([image], {}),
        (load_volumes(image), {}),
        (array, place),
        (array.astype(np.float64), place),
        (torch.from_numpy(array.copy()), place),
    ):
        found = read(inputs, events=events, **options)
        assert [row["text"] for row in found] == list(wanted)


def test_a_list_is_decoded_in_its_order(read, scan, store):
    other = store.path.parent / "sub-02_run-02_bold.nii"
    found = read([scan[0], other], every=4)
    runs = [row["run"] for row in found]
    assert runs == sorted(runs)
    assert len(set(runs)) == 2
    assert [r["text"] for r in found if r["run"] == runs[0]] == [
        row["text"] for row in read(scan[0], every=4)
    ]
    array = np.asarray(nib.load(scan[0]).dataobj).T
    mixed = read([scan[0], array], every=4, tr=2.0, affine=nib.load(scan[0]).affine)
    half = len(mixed) // 2
    assert [r["text"] for r in mixed[:half]] == [r["text"] for r in mixed[half:]]


def test_the_model_is_loaded_once(run, scan, monkeypatch):
    read = opened(run)
    module = importlib.import_module("fastbrain.inference.openers")
    monkeypatch.setattr(module, "open_decoder", None)
    assert read(scan[0], every=8)
    assert repr(read) == f"BrainToText('llm4brain', '{run}')"


def test_the_folder_of_the_model_is_that_of_its_run(read, run, scan, tmp_path):
    wanted = read(scan[0], every=8)
    assert opened(run / "model")(scan[0], every=8) == wanted
    shutil.copytree(run / "model", tmp_path / "model")
    with pytest.raises(CheckpointError, match="a saved model alone"):
        opened(tmp_path / "model")


def test_an_uploaded_run_decodes_scans(read, run, language_folder, scan, tmp_path, monkeypatch):
    hub = hub_in(tmp_path / "remote", monkeypatch)
    fb.push_to_hub(run / "model", "lab/model")
    names = {p.relative_to(hub.folder).as_posix() for p in hub.folder.rglob("*")}
    assert {"run/manifest.json", "run/preparation/grid.npz", "model.safetensors"} <= names
    for name in ("run/manifest.json", "config.json", "README.md"):
        text = (hub.folder / name).read_text()
        assert str(run.parent) not in text
        assert str(language_folder.parent) not in text
    with pytest.raises(InputError, match="Pass download=True"):
        opened("lab/model")
    assert hub.asked == [("lab/model", None, True)]
    found = opened("lab/model", download=True, llm=str(language_folder))
    assert hub.asked[1:] == [("lab/model", None, False)]
    assert found(scan[0], every=8) == read(scan[0], every=8)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"task": "text-to-brain"}, InputError, "task must be one of brain-to-text, got 'text-to"),
        ({"model": "gone"}, CheckpointError, "must be a folder or a name on the hub, got 'gone'"),
        ({"revision": "v1"}, InputError, "revision must be None for a folder, got 'v1'"),
        ({"device": "nowhere"}, InputError, "device"),
        ({"unknown_subject": "mean"}, InputError, "unknown_subject must be left out"),
        ({"llm": "no/where/at/all"}, InputError, "must be a folder or a name"),
    ],
)
def test_what_cannot_be_opened_is_refused(run, options, error, words):
    given = {"task": "brain-to-text", "model": run, **options}
    with pytest.raises(error, match=words):
        fb.pipeline(given.pop("task"), **given)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        ([], {}, InputError, "inputs must hold recordings .* got none"),
        (None, {}, InputError, "inputs must be recordings .* got NoneType"),
        ("gone.nii", {}, InputError, r"that exist, got str 'gone\.nii'"),
        ("a\0b", {}, InputError, "that exist"),
        (np.zeros((3, 3)), {}, InputError, r"volumes \(T, Z, Y, X\) of numbers, got \(3, 3\)"),
        (np.zeros((2, 2, 2, 2), complex), {}, InputError, "complex128"),
        (np.ma.masked_all((2, 2, 2, 2)), {}, InputError, "got a masked one"),
        ("ARRAY", {"affine": np.eye(4)}, InputError, "tr must be given for arrays"),
        ("ARRAY", {"tr": 2.0}, InputError, "affine must be given for arrays"),
        ("ARRAY", {"tr": 2.0, "affine": np.eye(3)}, InputError, r"affine must be \(4, 4\) finite"),
        ("ARRAY", {"tr": 2.0, "affine": "x"}, InputError, "affine must be numbers"),
        ("ARRAY", {"tr": 2.0, "affine": np.diag([3.0, 3, 3, 2])}, InputError, "0 0 0 1"),
        ("ARRAY", {"tr": 2.0, "affine": FAR}, VolumeError, "field of view"),
        ("ARRAY", {"tr": 1.0, "affine": np.diag([3.0, 3, 3, 1])}, CohortError,
         "repetition time of training, 2 s, got 1 s"),
        ("SCAN", {"affine": np.eye(4)}, InputError, "affine must come with an array"),
        ("SCAN", {"part": "test"}, InputError, "part must come with a store"),
        ("SCAN", {"every": 2, "events": "e.tsv"}, InputError, "events and every must not both"),
        (["SCAN", "STORE"], {}, InputError, "recordings alone or stores alone, got both"),
        ("STORE", {"every": 2}, InputError, "every must come with recordings"),
        ("STORE", {"late": "drop"}, InputError, "late must come with recordings"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused(read, scan, store, inputs, options, error, words):
    places = {"SCAN": scan[0], "STORE": store.path}
    if isinstance(inputs, str) and inputs == "ARRAY":
        inputs = np.asarray(nib.load(scan[0]).dataobj).T
    elif isinstance(inputs, list):
        inputs = [places[name] for name in inputs]
    elif isinstance(inputs, str):
        inputs = places.get(inputs, inputs)
    with pytest.raises(error, match=words):
        read(inputs, **options)
