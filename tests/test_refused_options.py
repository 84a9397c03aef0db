"""Options and folders that do not fit a command are refused before it works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastbrain import cli
from fastbrain._runs_inside import runs_inside
from fastbrain.errors import SplitError


def test_what_is_no_store_is_told_with_the_remedy(capsys, tmp_path):
    for command in (["audit"], ["train"], ["train", "scmbm"], ["train", "brainllm"]):
        options = [] if command == ["audit"] else [str(tmp_path / "out")]
        assert cli.main([*command, str(tmp_path), *options]) == 1
        assert "got none. Name a folder that fastbrain prepare wrote." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_no_run(capsys, tmp_path):
    (tmp_path / "prepare.json").write_text("{}")
    for command in ("decode", "evaluate"):
        assert cli.main([command, str(tmp_path)]) == 1
        assert "must be a run folder, got a voxel store" in capsys.readouterr().err


def test_a_path_that_is_not_there_or_no_table_is_told(capsys, tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    gone, out = str(tmp_path / "gone"), str(tmp_path / "out")
    for command, said in (
        (["prepare", gone, out], "a BIDS folder or a study, got no such file or folder"),
        (["prepare", str(tmp_path / "scan.nii.gz"), out], "a study, got an image or array"),
        (["train", gone, out], "that fastbrain prepare wrote, got no such folder"),
        (["train", str(tmp_path / "scan.nii.gz"), out], "that fastbrain prepare wrote, got a file"),
    ):
        assert cli.main(command) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate"], ["decode"], ["live", "--rehearse"]])
@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (["run"], "must be a run folder, got one that holds a run. Name it: {}/run."),
        (["fold-00/run", "fold-01/run"], "2 runs. Name one of them: {0}/fold-00/run, {0}/fold-01"),
    ],
    ids=["demo", "folds"],
)
def test_the_runs_in_a_folder_are_named(capsys, tmp_path, command, runs, said):
    for name in (*runs, "store", "run/preparation"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    for name in runs:
        (tmp_path / name / "manifest.json").write_text('{"kind": "llm4brain"}')
    (tmp_path / "store" / "manifest.json").write_text('{"layout_version": 4}')
    assert cli.main([*command, str(tmp_path)]) == 1
    assert said.format(tmp_path) in capsys.readouterr().err


def test_a_run_behind_a_link_is_named_once(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"kind": "llm4brain"}')
    (tmp_path / "here").symlink_to(tmp_path)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "manifest.json")
    (found,) = runs_inside(tmp_path)
    assert found.resolve() == tmp_path / "run"


@pytest.mark.parametrize(
    ("command", "match"),
    [
        (["audit"], "must be a voxel store, got a run of vq-lm, which has none"),
        (["evaluate", "--no-bert"], "--no-bert must be left out for a run of vq-lm"),
        (["decode", "--no-confidence"], "--no-confidence must be left out for a run of vq-lm"),
        (["decode", "--seed", "3"], "--seed must be left out for a run of vq-lm"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_a_run_of_vqlm_has_not_is_refused(capsys, tmp_path, command, match):
    (tmp_path / "manifest.json").write_text('{"kind": "vq-lm"}')
    assert cli.main([command[0], str(tmp_path), *command[1:]]) == 1
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--llm", "smollm2"], "--llm must be left out for --decoder soft-prompt"),
        (["--decoder", "mixture", "--llm", "smollm2"], "--llm must be left out for --decoder mix"),
        (["--sentence-encoder", "x"], "--sentence-encoder must be left out for --decoder soft"),
        (
            ["--decoder", "retrieve", "--edit-seconds", "9"],
            "for --decoder retrieve, which does not",
        ),
        (["--decoder", "mixture", "--evidence-texts", "64"], "which writes no such texts"),
        (["--decoder", "retrieve", "--engine"], "--engine must be left out for --decoder retrieve"),
        (["--decoder", "edit", "--beams", "3"], "--beams must be left out for --decoder edit"),
        (["--decoder", "mixture", "--human-study", "forms"], "--human-study must be left out"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_options_of_another_decoder_are_refused(capsys, tmp_path, options, match):
    (tmp_path / "manifest.json").write_text('{"kind": "brainllm"}')
    assert cli.main(["evaluate", str(tmp_path), *options]) == 1
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--task", "x"), ("--echo", "2"), ("--space", "T1w")], ids=lambda o: o[0]
)
def test_options_of_bids_are_refused_for_a_runs_table(tmp_path, capsys, option):
    table = tmp_path / "runs.tsv"
    table.write_text("subject\tbold\tevents\n")
    command = ["prepare", str(table), str(tmp_path / "out"), "--dry-run", *option]
    assert cli.main([*command, "--test-subjects", "1"]) == 1
    assert f"{option[0]} must be left out for a runs table" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_a_device_that_is_not_there_is_refused_before_work(tmp_path, capsys, device):
    assert cli.main(["decode", str(tmp_path / "run"), "--device", device]) == 1
    assert "decode: device must" in capsys.readouterr().err


def test_a_folder_in_place_of_an_output_is_refused_before_work(tmp_path, capsys):
    assert cli.main(["decode", str(tmp_path / "run"), "--out", str(tmp_path)]) == 1
    assert "must be a file to write, got a folder" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--subjects", "1"), "--subjects must be 2 or more, got 1"),
        (("--derangements", "99"), "--derangements must be 100 or more, got 99"),
    ],
    ids=["subjects", "derangements"],
)
def test_a_demo_is_refused_before_it_starts(tmp_path, capsys, more, options, told):
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), *options, *more]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("key", "values", "plain"),
    [
        ("subject", ("sub-06", "7"), ("06", "7")),
        ("run", ("run-1",), ("1",)),
        ("session", ("ses-a",), ("a",)),
        ("story", ("sub-plot",), ("sub-plot",)),
    ],
)
def test_labels_may_have_their_prefix(key, values, plain):
    from fastbrain.commands._splits import SplitOptions, plain_labels

    assert plain_labels(key, values) == plain
    if key == "subject":
        with pytest.raises(SplitError, match=r"06.*7"):
            SplitOptions(test_subjects=values).splitter("prepare")([])


@pytest.mark.parametrize("folds", [0, -3])
def test_too_few_folds_are_named(folds):
    from fastbrain.commands._splits import SplitOptions

    with pytest.raises(SplitError, match=f"folds must be >= 3, got {folds}"):
        SplitOptions(folds=folds).splitter("prepare")([])


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("studies/vq_simulated.py", "--domain 0 --starts aligned", "aligned needs an adversary"),
        ("benchmarks/systems/story.py", "--data here --decoder edit", "--decoder needs --llm"),
    ],
)
def test_options_without_effect_are_refused_by_scripts(script, options, said):
    path = Path(__file__).parents[1] / script
    ran = subprocess.run(
        [sys.executable, path, *options.split()], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert said in ran.stderr
