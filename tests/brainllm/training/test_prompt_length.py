"""BrainLLM's prompt, sizes and what is refused before training."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from fastbrain.brainllm import BrainLLMConfig
from fastbrain.brainllm.decoder import brain_decoder, count_weights
from fastbrain.brainllm.saving import BrainLLMCard
from fastbrain.brainllm.training.pipeline import train_brainllm_run
from fastbrain.brainllm.training.run_config import (
    BrainLLMRunConfig,
    audit_brainllm,
    described,
    plan_brainllm,
)
from fastbrain.cli import main
from fastbrain.errors import ConfigError


def test_the_paper_has_its_number_of_weights():
    assert count_weights(BrainLLMConfig(features=1000), 4096) == 6_105_192


@pytest.mark.parametrize(
    ("options", "hidden"),
    [
        ({}, [7, 7]),
        ({"depth": 1}, [7]),
        ({"depth": 3, "width": 5}, [5, 5, 5]),
        ({"width": 9}, [9, 9]),
    ],
)
def test_depth_and_width_of_the_decoder(options, hidden):
    config = BrainLLMConfig(features=7, **options)
    network = brain_decoder(config, 11)
    linear = [m for m in network if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linear] == [*hidden, 11]
    assert network(torch.zeros(2, 3, 7)).shape == (2, 3, 11)
    assert count_weights(config, 11) == sum(p.numel() for p in network.parameters()) + 22


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be 1 or more"),
        ({"width": 0}, "width must be 1 or more"),
        ({"decoder": "linear", "depth": 3}, "depth must be left out"),
        ({"decoder": "rnn", "width": 3}, "width must be left out"),
    ],
)
def test_sizes_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BrainLLMConfig(features=7, **options)
    with pytest.raises(ConfigError, match=message):
        BrainLLMRunConfig(features=7, **options)


def test_counts_of_positions_and_steering():
    whole = BrainLLMConfig(features=4, frames=3, additive_position=True, steering=True)
    network = sum(p.numel() for p in brain_decoder(whole, 6).parameters())
    assert count_weights(whole, 6) == network + 2 * 6 + 3 * 4 + 4 * 6


@pytest.fixture
def story(store):
    """The store with words before every trial."""
    return replace(store, trials=[replace(t, prompt="one two three") for t in store.trials])


def test_prompts_precede_the_text_where_there_are_any(store, story):
    config = BrainLLMRunConfig(features=3)
    assert plan_brainllm(store, config).before == "instruction"
    assert "no prompts" in plan_brainllm(store, config).sentence(None)
    plan = plan_brainllm(story, replace(config, prompt_length=2))
    assert plan.before == "prompt"
    assert plan.sentence(2) == "the last 2 words of the prompts of the trials"
    assert plan.sentence(0) == "nothing"
    card = BrainLLMCard("llm", 2.0, before="prompt", prompt_length=2)
    assert card.texts_before(story.trials[:1]) == ("two three",)
    with pytest.raises(ConfigError, match="prompt_length must be left out for a store without"):
        plan_brainllm(store, replace(config, prompt_length=2))
    with pytest.raises(ConfigError, match="prompt_length must be 0 or more words"):
        BrainLLMRunConfig(prompt_length=-1)


def test_too_many_components_are_refused_before_anything_is_written(store, tmp_path):
    volumes = len({(t.run_id, t.start + i) for t in map(store.by_id.get, store.split.train)
                   for i in range(t.frames)})  # fmt: skip
    with pytest.raises(ConfigError, match=r"features must be at most (\d+) .*--features \1 "):
        train_brainllm_run(
            store, tmp_path / "run", BrainLLMRunConfig(features=volumes), allow_leak="small"
        )
    assert not (tmp_path / "run").exists()


def test_the_preset_of_the_paper(capsys):
    command = ["train", "brainllm", "store", "run", "--preset", "paper", "--print-config"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"] == 1000
    assert found["training"]["tune"]["batch_size"] == 8
    assert main([*command, "--features", "30", "--prompt-length", "3", "--depth", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["features"], found["prompt_length"], found["depth"]) == (30, 3, 1)


def test_a_dry_run_prints_shapes_and_weights(store, language_folder):
    config = BrainLLMRunConfig(features=5, width=6)
    network = 5 * 6 + 6 + 6 * 6
    assert described(store, config) == (
        "(4, 5) components of a window -> mlp of 2 x 6 hidden units -> (4, 64) of a small language "
        f"model; {network + 6 * 64 + 2 * 64:,} trained weights"
    )
    named = described(store, replace(config, llm=str(language_folder)))
    assert f"(4, 32) of {language_folder}; {network + 6 * 32 + 2 * 32:,} trained" in named


def told(store, part: str, other: str, before: int):
    """Leaks where one prompt of a part holds `before` words, then a target of another part."""
    target = "the quick brown fox jumps"
    first, second = store.split.part(part)[0], store.split.part(other)[0]
    trials = [
        replace(t, text=target)
        if t.trial_id == second
        else replace(t, prompt=f"{target}{' word' * before}" if t.trial_id == first else "he saw")
        for t in store.trials
    ]
    return replace(store, trials=trials)


@pytest.mark.parametrize("parts", [("train", "test"), ("test", "train"), ("val", "test")])
def test_a_target_of_another_part_in_a_prompt_is_a_leak(store, parts):
    view = told(store, *parts, before=2)
    audit = audit_brainllm(view, BrainLLMRunConfig(features=3))
    assert [leak.kind for leak in audit.findings if leak.kind == "prompt"] == ["prompt"]
    # five words no longer hold it
    short = audit_brainllm(view, BrainLLMRunConfig(features=3, prompt_length=5))
    assert not [leak for leak in short.findings if leak.kind == "prompt"]


def test_words_of_the_same_part_are_no_leak(store):
    ids = store.split.test
    trials = [
        replace(t, text="the quick brown fox jumps", prompt="") if t.trial_id == ids[1]
        else replace(t, prompt="the quick brown fox jumps") if t.trial_id == ids[0]
        else replace(t, prompt="")
        for t in store.trials
    ]  # fmt: skip
    audit = audit_brainllm(replace(store, trials=trials), BrainLLMRunConfig(features=3))
    assert not [leak for leak in audit.findings if leak.kind == "prompt"]


def test_an_instruction_and_a_prompt_are_both_audited(store):
    first, second = store.split.train[0], store.split.test[0]
    target = "the quick brown fox jumps"
    trials = [
        replace(t, text=target) if t.trial_id == second
        else replace(t, instruction=target, prompt="he saw") if t.trial_id == first
        else t
        for t in store.trials
    ]  # fmt: skip
    audit = audit_brainllm(replace(store, trials=trials), BrainLLMRunConfig(features=3))
    assert [leak.kind for leak in audit.findings if leak.kind == "prompt"] == ["prompt"]
