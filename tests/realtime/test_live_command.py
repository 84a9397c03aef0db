"""``fastbrain live`` from its options to its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from fastbrain.cli import main


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--source must be given"),
        (("--rehearse",), "must come with RUN"),
        (("--source", "nifti:x", "--faults", "usual"), "--rehearse"),
        (("--source", "nifti:x", "--phrases", "x"), "must come with RUN"),
        (("--source", "nifti:x", "--bids", "x"), "--bids-subject"),
        (("--source", "nifti:x", "--page", "here"), "a port or none"),
        (("--source", "nifti:x", "--volumes", "0"), "1 or more"),
        (("--source", "tape:x"), "dicom:FOLDER"),
        (("--source", "nifti:/no/such/folder"), "folder"),
        (("--source", "nifti:.", "--deadline", "-1"), "deadline_s"),
        (("--source", "nifti:.", "--tr", "0"), "tr_s must lie in"),
        (("--source", "push"), "--source must be given"),
        (("--source", "nifti:x", "--series", "5"), "with a source dicom"),
        (("--source", "nifti:x", "--slices", "5"), "with a source dicom"),
        (("--source", "nifti:x", "--mask", "x.nii"), "with a source afni"),
        (("--source", "nifti:x", "--log-text"), "with RUN and --log"),
        (("--rehearse", "x", "--speed", "0"), "--speed must lie between 0"),
        (("--rehearse", "x", "--speed", "nan"), "--speed must lie between 0"),
        (("--rehearse", "x", "--page", "0", "--tcp", "0"), "without --tcp, --page"),
        (("--rehearse", "x", "--tr", "2"), "without --tr"),
        (("--source", "nifti:x", "--beams", "3", "--no-control"), "--no-control, --beams must"),
        (("--source", "nifti:x", "--subject", "01"), "--subject must come with RUN"),
        (("--source", "nifti:x", "--bids-task", "rest"), "--bids-task must come with --bids"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(options, words, capsys):
    assert main(["live", *options]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "unexpected" not in error


@pytest.mark.parametrize(
    ("label", "folder", "words"), [("sub-01", "new", "sub must be"), ("01", "raw", "derivative")]
)
def test_a_wrong_derivative_is_refused_before_the_session(label, folder, words, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "dataset_description.json").write_text('{"DatasetType": "raw"}')
    log = tmp_path / "log.jsonl"
    options = ["--source", f"nifti:{tmp_path}", "--log", str(log), "--idle-timeout", "0.1"]
    options += ["--bids", str(tmp_path / folder), "--bids-subject", label]
    assert main(["live", *options]) == 1
    assert words in capsys.readouterr().err
    assert not log.exists()


def test_a_file_too_large_for_phrases_is_refused(head_run, tmp_path, capsys):
    phrases = tmp_path / "phrases.txt"
    with phrases.open("wb") as file:
        file.truncate((16 << 20) + 1)
    options = ["--source", f"nifti:{tmp_path}", "--phrases", str(phrases)]
    assert main(["live", str(head_run), *options]) == 1
    assert "phrases, one a line, got 16777217 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "fifo"])
def test_phrases_that_are_no_file_are_refused(head_run, tmp_path, capsys, path):
    if path == "fifo":
        path = tmp_path / path
        os.mkfifo(path)
    options = ["--source", f"nifti:{tmp_path}", "--phrases", str(path)]
    assert main(["live", str(head_run), *options]) == 1
    assert "must be a file of phrases, got a folder or a device" in capsys.readouterr().err


def test_a_run_of_vqlm_is_refused(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text('{"kind": "vq-lm"}')
    assert main(["live", str(tmp_path), "--source", f"nifti:{tmp_path}"]) == 1
    assert "vq-lm" in capsys.readouterr().err


@pytest.fixture
def scan(tmp_path):
    """A run of 30 volumes of 12 x 14 x 10 voxels, TR 0.5 s."""
    rng = np.random.default_rng(0)
    base = rng.uniform(800, 1200, (10, 14, 12))
    data = (base + 5 * rng.standard_normal((30, 10, 14, 12))).astype(np.int16)
    image = nib.Nifti1Image(data.T, np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 0.5
    nib.save(image, tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


def test_monitoring_a_replay(scan, tmp_path, capsys):
    log, bids = tmp_path / "log.jsonl", tmp_path / "bids"
    options = ["--source", f"replay:{scan}@20", "--log", str(log), "--volumes", "32"]
    code = main(["live", *options, "--bids", str(bids), "--bids-subject", "01"])
    assert code == 0, capsys.readouterr().err
    header, *rows = map(json.loads, log.read_text().splitlines())
    assert (header["run"], header["tr_s"], header["source"]) == (None, 0.5, "replay")
    records = {row["index"]: row["status"] for row in rows if row["type"] == "record"}
    assert sorted(records) == list(range(32))
    assert [records[30], records[31]] == ["dropped", "dropped"]
    assert rows[-1]["reason"] == "source ended"
    assert len(list(bids.rglob("*_timeseries.tsv"))) == 1
    assert "source ended" in capsys.readouterr().err


def test_a_damaged_file_that_was_there_before_is_a_bad_volume(scan, tmp_path):
    folder, log = tmp_path / "export", tmp_path / "log.jsonl"
    folder.mkdir()
    image = nib.load(scan)
    for number in range(8):
        one = nib.Nifti1Image(np.asarray(image.dataobj)[..., number], image.affine)
        nib.save(one, folder / f"volume_{number:04d}.nii")
    damaged = folder / "volume_0003.nii"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    options = ["--source", f"nifti:{folder}", "--tr", "0.5", "--log", str(log)]
    assert main(["live", *options, "--volumes", "8", "--idle-timeout", "20"]) == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    found = {row["index"]: row["status"] for row in rows if row["type"] == "record"}
    assert found == dict.fromkeys(range(8), "ok") | {3: "bad_volume"}
    assert rows[-1]["reason"] == "complete"


def test_a_signal_ends_the_command_with_its_code(scan, tmp_path):
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "fastbrain.cli", "live", "--source", f"replay:{scan}@1"]
    process = subprocess.Popen(
        [*command, "--log", str(log)], env=os.environ, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "monitoring" in line:
            break
    process.send_signal(signal.SIGTERM)
    with process.stderr:
        process.stderr.read()
    assert process.wait(timeout=20) == 143
    assert json.loads(log.read_text().splitlines()[-1])["reason"] == "SIGTERM"


def test_a_rehearsal_with_faults_is_a_go(head_run, tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    volumes = 28  # one fault of each kind, and windows after the warm-up of ten volumes
    options = ["--faults", "usual", "--volumes", str(volumes), "--speed", "10", "--max-tokens", "4"]
    code = main(["live", "--rehearse", str(head_run), *options, "--log", str(log)])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert shown.splitlines()[-1] == "GO"
    assert "deadline: 2000 ms" in shown
    assert "the last one because: warming up: " in shown
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    records = [row for row in rows if row["type"] == "record"]
    assert sorted(row["index"] for row in records) == list(range(volumes))
    assert {"dropped", "duplicate", "out_of_order", "bad_volume", "ok"} <= {
        row["status"] for row in records
    }
    assert all("text" not in row for row in records)


def test_a_deadline_that_cannot_be_kept_is_a_no_go(head_run, capsys):
    options = ["--volumes", "16", "--speed", "20", "--deadline", "0.0001"]
    assert main(["live", "--rehearse", str(head_run), *options]) == 1
    shown = capsys.readouterr().out
    assert "deadlines of 0.0001 s were missed" in shown
    assert shown.splitlines()[-1] == "NO-GO"


def test_a_replay_is_decoded_and_shown(head_run, capsys, tmp_path):
    scan = head_run.parent / "3.nii"
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("it is a ball\n\nit is the tree\n")
    options = ["--source", f"replay:{scan}@20", "--show-text", "--phrases", str(phrases)]
    assert main(["live", str(head_run), *options]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) >= 20
    assert [int(number) for number, _ in lines] == list(range(40 - len(lines), 40))
    assert all(text for _, text in lines)


def test_another_repetition_time_is_refused(head_run, capsys):
    assert main(["live", str(head_run), "--source", "nifti:.", "--tr", "1.0"]) == 1
    assert "repetition time of the run, 2 s, got 1" in capsys.readouterr().err


def test_the_help_names_the_exit_codes(capsys):
    assert main(["live", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "143" in shown
    assert "fastbrain live --rehearse runs/demo/run" in shown
