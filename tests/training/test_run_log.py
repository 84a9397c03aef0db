"""Trackers and on_epoch: what they receive in whole, interrupted and failing runs."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from events import check_events, log_rows

from fastbrain import cli
from fastbrain.errors import CheckpointError, ConfigError, MissingPartError, TrainingError
from fastbrain.llm4brain.training.pretrain_encoder import ScmbmConfig, train_scmbm
from fastbrain.training import latest_checkpoint, load_checkpoint
from fastbrain.training.trackers import check_trackers, flat

CONFIG = ScmbmConfig.from_dict({
    "encoder": {"dim": 8, "depth": 1},
    "stage": {
        "name": "pretrain", "epochs": 3, "batch_size": 8, "groups": ["tokenizer", "encoder"],
    },
})  # fmt: skip


@dataclass
class Recorded:
    """What a stand-in for wandb or trackio was told."""

    starts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    axes: list[tuple[str, str]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    fails_at: int | None = None

    def init(self, **options: Any) -> Recorded:
        self.starts.append(options)
        return self

    def log(self, values: dict[str, float], *, step: int) -> None:
        if len(self.rows) == self.fails_at:
            raise ConnectionError("network is unreachable")
        self.rows.append((step, values))

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self.axes.append((name, step_metric))

    def finish(self, **options: Any) -> None:
        self.ends.append(options)


@pytest.fixture(params=["wandb", "trackio"])
def tracker(request, monkeypatch):
    """Name of a tracker, and the record of its stand-in."""
    importlib.import_module("accelerate")  # at its first import it looks for trackers, too
    record, module = Recorded(), ModuleType(request.param)
    module.init = record.init
    monkeypatch.setitem(sys.modules, request.param, module)
    return request.param, record


def interrupted(epoch: int):
    def stop(row):
        if row["epoch"] == epoch:
            raise RuntimeError("stop here")

    return stop


def expected_rows(run) -> list[tuple[int, dict[str, float]]]:
    rows = log_rows(run)["pretrain"]
    numbers = [{k: v for k, v in r.items() if k != "stage" and v is not None} for r in rows]
    return [(k, {f"pretrain/{n}": v for n, v in row.items()}) for k, row in enumerate(numbers)]


def test_events_hold_every_number_of_the_log(store, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    run = tmp_path / "run"
    said = ["train", "scmbm", str(store.path), str(run), "--config", str(tmp_path / "config.json")]
    assert cli.main([*said, "--log", "tensorboard"]) == 0
    assert [row["epoch"] for row in log_rows(run)["pretrain"]] == [1, 2, 3]
    check_events(run)
    text = b"".join(path.read_bytes() for path in (run / "tensorboard").iterdir())
    assert b"stage.optim.lr" in text


def test_a_resumed_run_has_each_event_once(store, tmp_path):
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stop here"):
        train_scmbm(store, run, CONFIG, log=["tensorboard"], on_epoch=interrupted(2))
    check_events(run)
    train_scmbm(store, run, CONFIG, resume=True, log=["tensorboard"])
    assert len(log_rows(run)["pretrain"]) == 3
    check_events(run)


def test_a_resumed_run_goes_on_in_the_same_run(store, tmp_path, tracker):
    name, record = tracker
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stop here"):
        train_scmbm(store, run, CONFIG, log=[name], on_epoch=interrupted(2))
    assert record.rows == expected_rows(run)
    train_scmbm(store, run, CONFIG, resume=True, log=[name, name])
    assert [step for step, _ in record.rows] == [0, 1, 2]
    assert record.rows == expected_rows(run)
    first, second = record.starts
    assert first == second
    assert first["resume"] == "allow"
    assert first["project"] == "fastbrain"
    assert first["config"] == CONFIG.to_dict()
    assert record.ends == ([{"exit_code": 1}, {"exit_code": 0}] if name == "wandb" else [{}, {}])
    if name == "wandb":
        assert first["dir"] == str(run)
        assert set(record.axes) == {("pretrain/*", "pretrain/epoch")}


def test_two_runs_are_two_runs(store, tmp_path, tracker):
    name, record = tracker
    for folder in ("a", "b"):
        train_scmbm(store, tmp_path / folder / "run", CONFIG, log=[name])
    key = "id" if name == "wandb" else "name"
    assert record.starts[0][key] != record.starts[1][key]


def test_a_tracker_added_later_gets_the_epochs_of_before(store, tmp_path, tracker):
    name, record = tracker
    run = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stop here"):
        train_scmbm(store, run, CONFIG, on_epoch=interrupted(2))
    assert not (run / "trackers.json").exists()
    train_scmbm(store, run, CONFIG, resume=True, log=[name])
    assert record.rows == expected_rows(run)


def test_a_finished_run_sends_what_is_missing(store, tmp_path, tracker):
    name, record = tracker
    run = tmp_path / "run"
    train_scmbm(store, run, CONFIG)
    for _ in range(2):
        train_scmbm(store, run, CONFIG, resume=True, log=[name])
        assert record.rows == expected_rows(run)


def test_a_failing_tracker_does_not_stop_training(store, tmp_path, tracker, capsys):
    name, record = tracker
    record.fails_at = 1
    seen: list[int] = []
    run = tmp_path / "run"
    train_scmbm(store, run, CONFIG, log=[name], on_epoch=lambda row: seen.append(row["epoch"]))
    assert seen == [1, 2, 3]
    assert len(record.rows) == 1
    assert capsys.readouterr().err.count("network is unreachable") == 1
    record.fails_at = None
    train_scmbm(store, run, CONFIG, resume=True, log=[name])
    assert record.rows == expected_rows(run)


def test_a_tracker_that_cannot_be_opened_is_an_error(store, tmp_path, tracker):
    name, record = tracker
    record.starts = None  # type: ignore[assignment]
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=f"got {name}: AttributeError.*--resume"):
        train_scmbm(store, run, CONFIG, log=[name])
    assert not (run / "pretrain").exists()
    train_scmbm(store, run, CONFIG, resume=True)


def test_what_on_epoch_raises_leaves_the_checkpoint(store, tmp_path):
    def mistake(row):
        raise KeyError("my own mistake")

    run = tmp_path / "run"
    with pytest.raises(KeyError, match="my own mistake"):
        train_scmbm(store, run, CONFIG, on_epoch=mistake)
    kept = load_checkpoint(latest_checkpoint(run / "pretrain"))
    assert kept.state["history"]["epoch"] == 1
    seen: list[int] = []
    train_scmbm(
        store, run, CONFIG, resume=True, on_epoch=lambda row: seen.append(row["epoch"])
    )  # fmt: skip
    assert seen == [2, 3]


def test_a_damaged_record_of_trackers(store, tmp_path, tracker):
    name, _ = tracker
    run = tmp_path / "run"
    train_scmbm(store, run, CONFIG, log=[name])
    (run / "trackers.json").write_text('{"run": "a", "sent": {"wandb": {"pretrain": -1}}}')
    with pytest.raises(CheckpointError, match="must have 'sent'"):
        train_scmbm(store, run, CONFIG, resume=True, log=[name])


@pytest.mark.parametrize(
    "command", ["train", "train brainllm", "train scmbm", "train vq-lm", "adapt"]
)
def test_an_unknown_tracker_is_refused_first(command, tmp_path, capsys):
    out = tmp_path / "run"
    more = ["--subject", "sub-01", "--runs", "1"] if command == "adapt" else []
    places = [*(["run"] if command == "adapt" else []), "no-store", str(out)]
    assert cli.main([*command.split(), *places, *more, "--log", "tensorbord"]) == 1
    assert "Did you mean 'tensorboard'?" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_that_is_not_installed(name, store, tmp_path, monkeypatch):
    module = "torch.utils.tensorboard" if name == "tensorboard" else name
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPartError, match=f"pip install {name}$"):
        train_scmbm(store, tmp_path / "run", CONFIG, log=[name])
    assert not (tmp_path / "run").exists()


def test_a_folder_named_wandb_is_no_library(tmp_path, monkeypatch):
    # first set, so that what is imported below is gone after the test
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    del sys.modules["wandb"]
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    pytest.importorskip("wandb")
    if hasattr(sys.modules["wandb"], "init"):
        pytest.skip("wandb is installed")
    with pytest.raises(MissingPartError, match="pip install wandb"):
        check_trackers(["wandb"], function="train")


def test_one_text_is_no_list_of_trackers():
    with pytest.raises(ConfigError, match="must name trackers"):
        check_trackers("tensorboard", function="train")


def test_a_flat_configuration():
    nested = {"llm": None, "stage1": {"optim": {"lr": 0.5}, "groups": ["a", "b"]}, "seed": 3}
    assert flat(nested) == {
        "llm": "null", "stage1.optim.lr": 0.5, "stage1.groups": '["a", "b"]', "seed": 3,
    }  # fmt: skip
