"""Commands refuse before the work what could not be written after it, or would be mixed up."""

from __future__ import annotations

import os
from dataclasses import asdict, replace

import pytest

from fastbrain import _io
from fastbrain.cli import main
from fastbrain.commands import _annotation, demo, study
from fastbrain.data import CohortDesign

ODD = os.fsdecode(b"donn\xe9es")


@pytest.fixture(autouse=True)
def no_work(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "cache"))
    for module, name in (
        (demo, "simulate_cohort"),
        (demo, "prepare_store"),
        (study, "plan_study"),
        (_annotation.AnnotationOptions, "annotator"),
    ):
        monkeypatch.setattr(module, name, lambda *a, **k: pytest.fail("work has begun"))


def refused(capsys, *command: object) -> str:
    assert main([str(part) for part in command]) == 1
    return capsys.readouterr().err


COMMANDS = {
    "demo": ["demo", "--out"],
    "train": ["train", "store"],
    "study": ["study", "had", "ds004488", "--test-subjects", "01", "--text-model", "m"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_cannot_be_written(tmp_path, capsys, monkeypatch, name):
    command = COMMANDS[name]
    assert "valid UTF-8" in refused(capsys, *command, tmp_path / ODD)
    monkeypatch.setenv("FASTBRAIN_CACHE", os.devnull + "/x")
    assert "Set FASTBRAIN_CACHE" in refused(capsys, *command, tmp_path / "out")

    def read_only(*args, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(_io.tempfile, "mkstemp", read_only)
    assert "Read-only file system" in refused(capsys, *command, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_there_already(tmp_path, capsys):
    assert "must not exist" in refused(capsys, *COMMANDS["study"], tmp_path)


def test_a_source_whose_name_cannot_be_written_down(tmp_path, capsys):
    command = ["study", "had", tmp_path / ODD, tmp_path / "out", "--test-subjects", "01"]
    assert "valid UTF-8" in refused(capsys, *command)


def test_a_demo_needs_space(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "_NEEDED_BYTES", 1e18)
    assert "GB free, got" in refused(capsys, "demo", "--out", tmp_path / "out")


def test_a_demo_keeps_its_cohort(tmp_path, capsys):
    """Another signal-to-noise ratio would be reported for the cohort of the first."""
    design = CohortDesign(subjects=6, snr=0.25, seed=0)
    _io.write_json(tmp_path / "demo/cohort/design.json", asdict(replace(design, snr=0.0)))
    told = refused(capsys, "demo", "--out", tmp_path / "demo", "--resume")
    assert "--snr" in told
    assert "Use a new folder" in told
