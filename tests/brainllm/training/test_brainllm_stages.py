"""BrainLLM learns what the brain says, from its training part alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain.brainllm import BrainLLM, BrainLLMConfig
from fastbrain.brainllm.training import (
    BrainTextLoader,
    BrainTexts,
    WarmUp,
    brainllm_preset,
    fit_steering,
    train_brainllm,
)
from fastbrain.brainllm.training.presets import BrainLLMTraining
from fastbrain.errors import ConfigError, InputError, LeakError
from fastbrain.training import OptimConfig, StageConfig

WORDS = ("ball", "box", "wall", "tree")
K = 8
QUICK = BrainLLMTraining(
    StageConfig(name="warmup", epochs=3, batch_size=8, optim=OptimConfig(lr=1e-2)),
    StageConfig(name="tune", epochs=16, batch_size=8, optim=OptimConfig(lr=2e-2), patience=4),
    max_prompt_tokens=8,
    max_text_tokens=8,
)


def data(n, name, noise=0.3, prompt="What is it?"):
    patterns = np.random.default_rng(0).normal(size=(len(WORDS), K))
    rng = np.random.default_rng(len(name))
    labels = np.arange(n) % len(WORDS)
    windows = patterns[labels][:, None] + noise * rng.normal(size=(n, 2, K))
    texts = tuple(f"It is a {WORDS[c]}." for c in labels)
    ids = tuple(f"{name}-{i}" for i in range(n))
    return BrainTexts(ids, torch.from_numpy(windows).float(), texts, (prompt,) * n)


@pytest.fixture
def make(language):
    def build(**options):
        torch.manual_seed(0)
        options = {"dropout": 0.1, **options}
        config = BrainLLMConfig(features=K, frames=2, **options)
        return BrainLLM(config, llm=language[0], text_tokenizer=language[1])

    return build


def least_val_loss(history):
    return min(row["val_loss"] for row in history.rows)


@pytest.mark.parametrize("position", ["before-prompt", "after-prompt"])
def test_unseen_brains_are_read(make, tmp_path, position):
    model = make(position=position)
    before = {k: v.clone() for k, v in model.llm.state_dict().items()}
    done = train_brainllm(model, data(32, "a"), data(8, "bb"), QUICK, run_dir=tmp_path)
    found = least_val_loss(done["tune"])
    for name, value in model.llm.state_dict().items():
        assert torch.equal(value, before[name]), name
    noise = train_brainllm(
        make(position=position),
        data(32, "a", noise=30.0),
        data(8, "bb", noise=30.0),
        QUICK,
        run_dir=tmp_path / "n",
    )
    # one word of four in six tokens: without a brain at least ln 4 / 6 = 0.23 nats a token
    assert least_val_loss(noise["tune"]) > np.log(4) / 6
    assert found < least_val_loss(noise["tune"]) - 0.08


def test_warm_up_aims_at_the_mean_word(make):
    model = make(decoder="linear")
    batch = next(iter(BrainTextLoader(data(4, "a"), batch_size=4, shuffle=False)))
    embed = model.llm.get_input_embeddings()
    for target, words in (("prompt", batch.prompts), ("continuation", batch.texts)):
        config = BrainLLMTraining(target=target, end=False)
        expected = []
        for window, text in zip(batch.windows, words, strict=True):
            ids = model.text_tokenizer.encode(text, add_special_tokens=False)
            mean = embed(torch.tensor(ids)).mean(dim=0)
            expected.append((model.decoder(window) - mean).square().mean())
        found = WarmUp(model, config)(batch)["loss"]
        torch.testing.assert_close(found, torch.stack(expected).mean())


def test_validation_teaches_nothing(make, tmp_path):
    """Other validation samples may stop training elsewhere, but change no step of it."""
    rows = []
    for name in ("bb", "cccc"):
        config = BrainLLMTraining(
            None,
            StageConfig(name="tune", epochs=3, batch_size=8, optim=OptimConfig(lr=1e-2)),
            max_text_tokens=8,
        )
        done = train_brainllm(make(), data(16, "a"), data(8, name), config, run_dir=tmp_path / name)
        rows.append([row["loss"] for row in done["tune"].rows])
    assert rows[0] == rows[1]


def test_steering(make):
    model = make(decoder="none", steering=True)
    train, val = data(40, "a"), data(8, "bb")
    config = BrainLLMTraining(max_text_tokens=8, steering_penalties=(0.01, 0.1, 1.0))
    found = fit_steering(model, train, val, config)
    assert found.scope.fitted_on == train.trial_ids
    assert found.nll[found.penalty] == min(found.nll.values())
    assert found.nll[found.penalty] < found.nll[float("inf")] - 0.1
    bias = model.logit_bias(val.windows)
    ids = [model.text_tokenizer.encode(w, add_special_tokens=False)[0] for w in WORDS]
    assert (bias[:, ids].argmax(dim=1) == torch.arange(8) % 4).all()
    # brains of noise: the validation part says to leave it
    noise = BrainTexts(train.trial_ids, torch.randn(40, 2, K), train.texts, train.prompts)
    lost = BrainTexts(val.trial_ids, torch.randn(8, 2, K), val.texts, val.prompts)
    assert fit_steering(model, noise, lost, config).penalty in (1.0, float("inf"))
    with pytest.raises(ConfigError, match="must have steering"):
        fit_steering(make(), train, val, config)


@pytest.mark.parametrize("name", ["paper", "published-code", "fastbrain"])
def test_presets_go_to_json_and_back(name):
    preset = brainllm_preset(name)
    assert BrainLLMTraining.from_dict(preset.to_dict()) == preset
    assert (preset.target, preset.keep) == {
        "paper": ("continuation", "newest"),
        "published-code": ("prompt", "oldest"),
        "fastbrain": ("continuation", "newest"),
    }[name]
    with pytest.raises(ConfigError, match="Did you mean 'paper'"):
        brainllm_preset("papr")


def test_refusals(make, tmp_path):
    train, val = data(8, "a"), data(4, "bb")
    with pytest.raises(LeakError, match="got 8 samples"):
        train_brainllm(make(), train, train, QUICK, run_dir=tmp_path)
    copied = BrainTexts(("x",), train.windows[:1], train.texts[:1])
    with pytest.raises(LeakError, match="1 identical windows"):
        train_brainllm(make(), train, copied, QUICK, run_dir=tmp_path)
    with pytest.raises(ConfigError, match="target must not be 'prompt'"):
        train_brainllm(
            make(),
            data(8, "a", prompt=""),
            val,
            BrainLLMTraining(QUICK.warmup, target="prompt"),
            run_dir=tmp_path,
        )
    short = BrainLLMTraining(None, QUICK.tune, max_text_tokens=3)
    with pytest.raises(InputError, match="1 to 3 tokens, got"):
        train_brainllm(make(), train, val, short, run_dir=tmp_path / "short")
    with pytest.raises(InputError, match="must differ"):
        BrainTexts(("a", "a"), torch.zeros(2, 1, K), ("x", "y"))
    with pytest.raises(InputError, match="finite"):
        BrainTexts(("a",), torch.full((1, 1, K), torch.nan), ("x",))
