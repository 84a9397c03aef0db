"""Learning curves of runs: stages in order, every run in one picture, bad logs refused."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from fastbrain import cli
from fastbrain.bench.curves import learning_curves, stages_of
from fastbrain.bench.drawing import COLOURS
from fastbrain.errors import CheckpointError, InputError

pytest.importorskip("matplotlib", reason="pip install 'fastbrain-fmri[bench]'")


def log(folder, losses, val=()):
    """Write a log as training does: null for a validation loss that was not finite."""
    folder.mkdir(parents=True)
    rows = [
        {"stage": folder.name, "epoch": i + 1, "step": 7 * (i + 1), "loss": loss}
        | ({"val_loss": val[i]} if i < len(val) else {})
        for i, loss in enumerate(losses)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def runs(tmp_path):
    """A run of two stages and one of vq-lm."""
    log(tmp_path / "first" / "stages" / "stage1", [3.0, 2.0, 1.5], [3.1, None, 2.0])
    log(tmp_path / "first" / "stages" / "pretrain", [0.9])
    log(tmp_path / "codes" / "vq", [0.5, 0.25, 0.125])
    log(tmp_path / "codes" / "llm", [4.0, 3.5], [4.2, 3.9])
    return [tmp_path / "first", tmp_path / "codes"]


def test_stages_come_in_the_order_of_training(runs):
    assert list(stages_of(runs[0])) == ["pretrain", "stage1"]
    assert list(stages_of(runs[1])) == ["vq", "llm"]
    # the folder of one stage is a run of it
    assert [row["step"] for row in stages_of(runs[1] / "vq")["vq"]] == [7, 14, 21]


def test_a_picture_has_all_runs_and_stages(runs):
    figure = learning_curves(runs)
    text = "".join(ElementTree.fromstring(figure.svg).itertext())
    for said in ("first", "codes", "pretrain", "stage1", "vq", "llm", "step", "validation"):
        assert said in text
    # each run has a colour of its own that is told apart by any colour vision
    held = figure.svg.decode().lower()
    assert all(colour.lower() in held for colour in COLOURS[:2])
    assert COLOURS[2].lower() not in held
    assert learning_curves(runs).svg == figure.svg


def test_runs_of_one_name_are_told_apart(runs, tmp_path):
    log(tmp_path / "other" / "first" / "stages" / "stage1", [1.0, 0.5])
    text = learning_curves([runs[0], tmp_path / "other" / "first"]).svg.decode()
    assert str(tmp_path / "other" / "first") in text


def test_what_has_no_curve_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match=r"must hold log\.jsonl of a training stage, got none"):
        learning_curves([tmp_path])
    with pytest.raises(InputError, match="got one of them twice"):
        learning_curves([runs[0], runs[0]])
    with pytest.raises(InputError, match="must be 1 to 8"):
        learning_curves([tmp_path / str(i) for i in range(9)])
    log(tmp_path / "empty" / "stages" / "stage1", [])
    with pytest.raises(InputError, match="must hold the loss of an epoch"):
        learning_curves([tmp_path / "empty"])
    (runs[1] / "vq" / "log.jsonl").write_text('{"step": 1')
    with pytest.raises(CheckpointError, match="must be readable"):
        learning_curves(runs)


def test_the_command_writes_the_picture(runs, tmp_path, capsys):
    out = tmp_path / "plots"
    names = [str(run) for run in runs]
    assert cli.main(["bench", "plot", "--run", *names, "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "learning.svg")]
    assert cli.main(["bench", "plot", "--out", str(out)]) == 1
    assert "rows or --run must be given" in capsys.readouterr().err
