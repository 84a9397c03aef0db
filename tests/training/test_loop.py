"""The loop: exact resume, guards, best weights, accumulation, records."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from damage import flip_last_bit
from same_training import Stop, assert_same_tensors, without_timing

from fastbrain.errors import CheckpointError, ConfigError, OutputExistsError, TrainingError
from fastbrain.llm4brain.training.objectives import Pair
from fastbrain.training import OptimConfig, StageConfig, latest_checkpoint, load_checkpoint
from fastbrain.training.loop import Objective, fit


class Line(Objective):
    """Fits a line to numbers, with noise from every generator; `bad` trials give NaN."""

    def __init__(self, bad: tuple[str, ...] = (), stop_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = torch.nn.Linear(8, 1)
        self.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))
        self.bad, self.stop_at, self.calls, self.steps = bad, stop_at, 0, 0

    def forward(self, batch):
        self.calls += 1
        if self.stop_at is not None and self.calls > self.stop_at:
            raise Stop
        x = batch.voxels.float()[:, 0, :, 0][:, :8] / 100
        noise = random.random() + np.random.random() + torch.rand(())  # noqa: NPY002
        loss = (self.line(x).squeeze(1) - x.sum(1)).square().mean() + 0.01 * noise * (
            self.line.weight.sum()
        )
        if set(self.bad) & set(batch.trial_ids):
            loss = loss * float("nan")
        return {"loss": loss, "noise": noise}

    def after_step(self) -> None:
        self.seen += 1
        self.steps += 1


@pytest.fixture
def config():
    return StageConfig("line", epochs=3, optim=OptimConfig(lr=0.05, warmup_steps=2))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop_at", [1, 2, 4, 5, 6, 9, 14])
def test_a_resumed_run_is_bitwise_the_run_that_never_stopped(
    make_loader, config, tmp_path, accumulate, stop_at
):
    # 5 batches an epoch; a checkpoint after every optimiser step
    config = replace(config, accumulate=accumulate, checkpoint_every=1)
    options = {"batch_size": 3, "seed": 5}
    whole = Line()
    expected = fit(whole, make_loader(13, **options), config, run_dir=tmp_path / "whole")
    with pytest.raises(Stop):
        fit(Line(stop_at=stop_at), make_loader(13, **options), config, run_dir=tmp_path / "cut")
    random.random(), np.random.random(3), torch.rand(3)  # noqa: NPY002
    again = Line()
    torch.nn.init.zeros_(again.line.weight)
    history = fit(again, make_loader(13, **options), config, run_dir=tmp_path / "cut", resume=True)
    assert_same_tensors(whole.state_dict(), again.state_dict())
    assert without_timing(history.rows) == without_timing(expected.rows)
    a, b = (load_checkpoint(latest_checkpoint(tmp_path / n)) for n in ("whole", "cut"))
    assert_same_tensors(a.model, b.model)
    assert_same_tensors(a.optimizer, b.optimizer)
    assert_same_tensors(a.rng, b.rng)
    assert a.state["loader"] == b.state["loader"]


def test_the_same_seed_gives_the_same_curve_and_another_does_not(make_loader, config, tmp_path):
    def curve(name, seed):
        run = fit(Line(), make_loader(), replace(config, seed=seed), run_dir=tmp_path / name)
        return [row["loss"] for row in run.rows]

    assert curve("a", 1) == curve("b", 1)
    assert curve("c", 2) != curve("a2", 1)


def test_a_step_that_is_not_finite_is_skipped_counted_and_named(
    make_loader, config, tmp_path, capsys
):
    objective = Line(bad=("t-3",))
    history = fit(objective, make_loader(12), config, run_dir=tmp_path / "run")
    assert history.guard.skipped == 3  # one batch of three in each of three epochs
    assert history.step == 6
    assert objective.steps == 6
    assert all(np.isfinite(row["loss"]) for row in history.rows)
    assert all(p.isfinite().all() for p in objective.parameters())
    assert "t-3" in capsys.readouterr().err


def test_run_and_volumes_of_a_bad_window_are_named(make_loader, config, tmp_path, capsys):
    inner = make_loader(12)

    class Loader:
        """The same batches, which say where their windows lie."""

        def __iter__(self):
            for b in inner:
                where = tuple(f"{t} (run 7, volumes 3..4)" for t in b.trial_ids)
                yield SimpleNamespace(**vars(b), places=where)

        def __getattr__(self, name):
            return getattr(inner, name)

        def __len__(self):
            return len(inner)

    fit(Line(bad=("t-3",)), Loader(), config, run_dir=tmp_path / "run")
    assert "t-3 (run 7, volumes 3..4)" in capsys.readouterr().err
    pair = Pair(next(iter(Loader())), next(iter(make_loader(4, name="v", shuffle=False))))
    assert pair.places[0].endswith("(run 7, volumes 3..4)")
    # a batch that does not say is known by its trials
    assert pair.places[4:] == ("v-0", "v-1", "v-2", "v-3")


def test_three_in_a_row_end_training(make_loader, config, tmp_path):
    loader = make_loader(12)
    objective = Line(bad=loader.trial_ids)
    before = {k: v.clone() for k, v in objective.state_dict().items()}
    with pytest.raises(TrainingError, match=r"step 1 .*Last trials: t-"):
        fit(objective, loader, config, run_dir=tmp_path / "run")
    assert_same_tensors(before, objective.state_dict())


def test_the_best_weights_come_back_and_patience_ends(make_loader, config, tmp_path):
    objective = Line()
    values, weights = iter([9.0, 3.0, 0.0, float("nan"), 2.0, 1.0, 1.0]), []

    def validate():
        assert not objective.training
        assert not torch.is_grad_enabled()
        weights.append(objective.line.weight.clone())
        return {"loss": next(values)}

    config = replace(config, epochs=6, patience=2)
    run = tmp_path / "run"
    history = fit(objective, make_loader(), config, run_dir=run, validate=validate)
    assert (history.best_epoch, history.best_value) == (2, 0.0)
    assert history.stopped
    assert history.epoch == 4
    assert torch.equal(objective.line.weight, weights[2])
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert rows == history.rows
    assert rows[2]["val_loss"] is None
    # a finished run has nothing left to do
    again = fit(Line(), make_loader(), config, run_dir=run, resume=True, validate=validate)
    assert again.rows == history.rows


def test_a_start_that_training_spoils_is_kept(make_loader, config, tmp_path):
    objective = Line()
    start = objective.line.weight.clone()
    values = iter([1.0, 2.0, 3.0])
    history = fit(
        objective, make_loader(), replace(config, epochs=2), run_dir=tmp_path / "run",
        validate=lambda: {"loss": next(values)},
    )  # fmt: skip
    assert (history.best_epoch, history.best_value) == (0, 1.0)
    assert torch.equal(objective.line.weight, start)


def test_accumulated_batches_step_like_one_large_batch(make_loader, config, tmp_path):
    class Quiet(Line):
        def forward(self, batch):
            x = batch.voxels.float()[:, 0, :, 0][:, :8] / 100
            return {"loss": (self.line(x).squeeze(1) - x.sum(1)).square().mean()}

    large, small = Quiet(), Quiet()
    fit(large, make_loader(12, batch_size=6), config, run_dir=tmp_path / "large")
    fit(
        small, make_loader(12, batch_size=3), replace(config, accumulate=2),
        run_dir=tmp_path / "small",
    )  # fmt: skip
    # mean of two halves against the mean of the whole: fp32 rounding through Adam
    torch.testing.assert_close(large.line.weight, small.line.weight, rtol=1e-4, atol=1e-5)


def test_frozen_parameters_keep_their_bytes(make_loader, config, tmp_path):
    objective = Line()
    fit(objective, make_loader(), config, run_dir=tmp_path / "run")
    assert torch.equal(objective.frozen, torch.ones(2))


def test_the_record_of_a_run(make_loader, config, tmp_path):
    rows = []
    fit(
        Line(), make_loader(), config, run_dir=tmp_path / "run",
        record={"store": "abc"}, on_epoch=rows.append,
    )  # fmt: skip
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    assert StageConfig.from_dict(about["config"]) == config
    assert about["record"] == {"store": "abc"}
    assert about["versions"]["torch"]
    assert about["git"] is None or set(about["git"]) == {"commit", "dirty"}
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 <= row["wait"] <= 1 and row["windows_per_s"] > 0 and row["lr"] for row in rows)


def test_a_run_folder_is_not_used_twice_by_accident(make_loader, config, tmp_path):
    fit(Line(), make_loader(), config, run_dir=tmp_path / "run")
    with pytest.raises(OutputExistsError):
        fit(Line(), make_loader(), config, run_dir=tmp_path / "run")
    with pytest.raises(CheckpointError, match="epochs"):
        fit(Line(), make_loader(), replace(config, epochs=9), run_dir=tmp_path / "run", resume=True)


def test_damage_never_starts_training_again_in_silence(make_loader, config, tmp_path, capsys):
    run = tmp_path / "run"

    def go(stop_at=None):
        fit(
            Line(stop_at=stop_at), make_loader(), replace(config, checkpoint_every=2), run_dir=run,
            resume=run.exists(), validate=lambda: {"loss": 1.0},
        )  # fmt: skip

    with pytest.raises(Stop):
        go(stop_at=6)
    kept = sorted((run / "checkpoints").iterdir())
    best = run / "best"
    aside = best.rename(tmp_path / "best")
    with pytest.raises(CheckpointError, match="best must hold the weights of epoch 0"):
        go()
    aside.rename(best)
    flip_last_bit(kept[-1] / "model.safetensors")
    with pytest.raises(Stop):
        go(stop_at=4)
    assert f"{kept[-1].name}" in capsys.readouterr().err
    kept = sorted((run / "checkpoints").iterdir())
    for folder in kept:
        flip_last_bit(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=kept[0].name):
        go()
    assert sorted((run / "checkpoints").iterdir()) == kept
    for folder in kept:
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"checkpoints of its log\.jsonl"):
        go()


def test_nothing_to_train_is_an_error(make_loader, config, tmp_path):
    objective = Line().requires_grad_(False)
    with pytest.raises(TrainingError, match="0 trainable"):
        fit(objective, make_loader(), config, run_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match="best must be"):
        fit(
            Line(), make_loader(), config, run_dir=tmp_path / "run2",
            validate=lambda: {"answer": 1.0},
        )  # fmt: skip
