"""A stage with a memory and several loaders goes on exactly, and so does a loader of clips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from same_training import Stop, assert_same_tensors, without_timing

from fastbrain.errors import InputError
from fastbrain.llm4brain.training import ClipLoader, StageTwo, preset
from fastbrain.llm4brain.training.objectives import PairedLoader
from fastbrain.training.loop import fit


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_stage_two_resumes_with_its_memory_and_both_loaders(
    make_model, make_loader, tmp_path, stop_at
):
    config = replace(
        preset("stage2"), epochs=2, batch_size=4, checkpoint_every=1, noise_std=0.1, patience=0
    )

    def run(name, cut=None, resume=False):
        model = make_model(dropout=0.1)
        model.set_trainable(config.groups)
        source, target = make_loader(10), make_loader(6, name="target", batch_size=4)
        objective = StageTwo(model, config, prompts=("What is it?", "What?"), n_target=6)
        if cut is not None:
            forward, calls = objective.forward, []

            def stopping(batch):
                calls.append(batch)
                if len(calls) > cut:
                    raise Stop
                return forward(batch)

            objective.forward = stopping
        history = fit(
            objective, PairedLoader(source, target), config, run_dir=tmp_path / name, resume=resume
        )
        return objective, history

    whole, expected = run("whole")
    with pytest.raises(Stop):
        run("cut", cut=stop_at)
    again, history = run("cut", resume=True)
    assert_same_tensors(whole.state_dict(), again.state_dict())
    assert without_timing(history.rows) == without_timing(expected.rows)
    assert (whole.memory.norm(dim=1) > 0.99).all()


def test_clips_come_in_an_order_that_can_be_resumed(frames):
    texts = {f"c-{i}": f"text {i}" for i in range(7)}
    loader = ClipLoader(texts, frames, batch_size=3, seed=4)
    epochs = [[b.trial_ids for b in loader] for _ in range(2)]
    assert len(loader) == 3
    assert sorted(t for b in epochs[0] for t in b) == sorted(texts)
    assert epochs[0] != epochs[1]
    first = next(iter(ClipLoader(texts, frames, batch_size=3, seed=4)))
    assert first.frames.shape == (3, 2, 3, 8, 8)
    assert first.texts == tuple(texts[t] for t in first.trial_ids)
    other = ClipLoader(texts, frames, batch_size=3, seed=4)
    other.load_state_dict({"epoch": 1, "position": 1})
    assert [b.trial_ids for b in other] == epochs[1][1:]


@pytest.mark.parametrize(
    "clip", [torch.zeros(2, 8, 8), torch.zeros(2, 3, 8, 8).long(), torch.full((2, 3, 8, 8), 255.0)]
)
def test_clips_that_are_not_frames_are_named(clip):
    with pytest.raises(InputError, match="c-1"):
        next(iter(ClipLoader({"c-1": "text"}, lambda _: clip, batch_size=1)))
