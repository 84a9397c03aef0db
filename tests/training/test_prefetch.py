"""Reading ahead: the same batches and states, nothing lost, and it is really ahead."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch

from fastbrain.errors import InputError
from fastbrain.llm4brain.training import StageTwo, preset
from fastbrain.training import OptimConfig, fit
from fastbrain.training.prefetch import Prefetched


def threads():
    return [t for t in threading.enumerate() if t.name == "fastbrain-prefetch"]


def test_batches_and_states_are_the_loaders_own(make_loader):
    plain, ahead = make_loader(10, batch_size=3), Prefetched(make_loader(10, batch_size=3))
    for _ in range(2):
        for one, other in zip(plain, ahead, strict=True):
            assert one.trial_ids == other.trial_ids
            assert torch.equal(one.voxels, other.voxels)
            assert plain.state_dict() == ahead.state_dict()
        assert plain.state_dict() == ahead.state_dict()
    assert not threads()


def test_a_loop_that_is_left_early_loses_nothing(make_loader):
    plain, inner = make_loader(12, batch_size=3), make_loader(12, batch_size=3)
    ahead = Prefetched(inner)
    expected = [b.trial_ids for b in plain] + [b.trial_ids for b in plain]
    found = []
    for _ in range(8):
        for batch in ahead:
            found.append(batch.trial_ids)
            break
    assert not threads()
    # an epoch that ran out is noticed by the loop after its last batch
    assert found[:4] == expected[:4]
    assert inner.state_dict() == ahead.state_dict()
    assert inner.state_dict()["position"] in range(5)


def test_it_reads_while_no_batch_is_asked_for(make_loader):
    inner = make_loader(40, batch_size=2)
    batches = iter(Prefetched(inner, ahead=3))
    next(batches)
    deadline = time.monotonic() + 5
    while inner.position < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    # one was handed out, three lie ready, one waits for room
    assert inner.position == 5
    time.sleep(0.1)
    assert inner.position == 5
    batches.close()
    assert inner.position == 1


def test_what_reading_meets_is_raised_where_batches_are_used():
    class Broken:
        def __iter__(self):
            yield "a batch"
            raise InputError("the second one is damaged")

        def __len__(self):
            return 2

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    found = []
    with pytest.raises(InputError, match="damaged"):
        found.extend(Prefetched(Broken()))
    assert not threads()


def test_an_epoch_says_its_pace(make_model, make_loader, tmp_path, capsys):
    model = make_model()
    config = replace(preset("stage2"), epochs=1, optim=OptimConfig(lr=1e-3), keep_best=False)
    config = replace(config, groups=tuple(g for g in config.groups if g != "prototypes"))
    model.set_trainable(config.groups)
    stage = StageTwo(model, config, prompts=("What is it?",))
    loader = make_loader(6, shuffle=False)
    row = fit(stage, loader, config, run_dir=tmp_path / "run").rows[0]
    encode = model.text_tokenizer.encode
    one = len(model.start) + 3  # three latents stand for the brain
    one += len(encode("What is it?", add_special_tokens=False))
    # an answer ends with EOS
    words = sum(1 + len(encode(" " + t, add_special_tokens=False)) for t in loader.texts)
    assert stage.tokens == 6 * one + words
    assert row["tokens_per_s"] == pytest.approx(row["windows_per_s"] * stage.tokens / 6)
    said = capsys.readouterr().err
    assert f"{row['windows_per_s']:.3g} windows/s, {row['tokens_per_s']:.3g} tokens/s" in said
    assert f"{row['wait']:.1%} of the time waiting for data" in said
