"""Baselines that write the answer: of pictures, of encoder states, and their allowed answers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_vlm import QUESTION, save_tiny_vlm

from fastbrain.errors import InputError
from fastbrain.lm.word_lm import word_tokenizer
from fastbrain.vqlm import QuantiserConfig, VQAutoencoder, VQAutoencoderConfig
from fastbrain.vqlm.training.allowed_answers import AllowedAnswers, answer_loss, answer_rows
from fastbrain.vqlm.training.encoder_baseline import encoder_predictions, region_states
from fastbrain.vqlm.training.vlm_baseline import _continued, load_vlm, vlm_predictions

TOKENIZER = word_tokenizer([QUESTION, " ".join("0123456789"), "not so old young"])


def slow_and_fast(count=24, frames=40, regions=3):
    rng = np.random.default_rng(0)
    target = {str(i): float(20 + 50 * (i % 2)) for i in range(count)}
    time = np.arange(frames)
    series = {
        p: np.sin(time * (0.3 if v < 50 else 1.1) + rng.uniform(0, 6, (regions, 1)))
        for p, v in target.items()
    }
    return series, target


@pytest.mark.parametrize("places", [1, 2])
def test_odds_of_numbers_are_products_over_places(places):
    answers = AllowedAnswers.find(TOKENIZER, places=places)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(3, 200, len(TOKENIZER), dtype=torch.float64, generator=generator)
    calls = []

    def following(ids):
        calls.append(ids.shape)
        return torch.stack([table[len(row), int(row.sum())] for row in ids])

    odds = answers.odds(following)
    assert calls == [(10**n, n) for n in range(places)]
    digits = [TOKENIZER.convert_tokens_to_ids(str(d)) for d in range(10)]
    first = table[0, 0, digits].softmax(0)
    expected = first
    if places == 2:
        rest = torch.stack([table[1, d, digits].softmax(0) for d in digits])
        expected = (first[:, None] * rest).flatten()
    torch.testing.assert_close(odds, expected)
    assert answers.expected([odds]) == pytest.approx(
        float(odds @ torch.arange(10.0**places).double())
    )


def test_labels_share_their_first_words():
    answers = AllowedAnswers.find(TOKENIZER, places=2, labels=("young", "not old", "not so old"))
    logits = torch.zeros(len(TOKENIZER))
    logits[TOKENIZER.convert_tokens_to_ids("not")] = np.log(3)
    logits[TOKENIZER.convert_tokens_to_ids("so")] = np.log(4)
    odds = answers.odds(lambda ids: logits.expand(len(ids), -1))
    torch.testing.assert_close(odds, torch.tensor([0.25, 0.15, 0.6]).double(), rtol=1e-6, atol=0)
    with pytest.raises(InputError, match="beginning"):
        AllowedAnswers.find(TOKENIZER, places=2, labels=("not", "not old"))


def test_answers_that_are_not_allowed():
    numbers = AllowedAnswers.find(TOKENIZER, places=2)
    assert numbers.of(46.6) == numbers.tokens[47]
    for value in (100.0, -1.0):
        with pytest.raises(InputError, match="one of the 100"):
            numbers.of(value)
    with pytest.raises(InputError, match="one of the 2"):
        AllowedAnswers.find(TOKENIZER, places=1, labels=("old", "young")).of("so")


def test_the_loss_is_of_the_answer_alone():
    ids, labels = answer_rows([[3, 4], [5]])
    logits = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0))
    nll = -logits.log_softmax(dim=2)
    expected = (nll[0, 3, 3] + nll[0, 4, 4] + nll[1, 3, 5]) / 3
    torch.testing.assert_close(answer_loss(logits, labels), expected)
    assert ids.tolist() == [[3, 4], [5, 0]]


def coder(regions=3):
    torch.manual_seed(0)
    config = VQAutoencoderConfig(
        regions, patch=5, dim=16, depth=1, heads=2, quantiser=QuantiserConfig(codes=8, dim=4)
    )
    return VQAutoencoder(config, center=np.zeros(regions), spread=np.ones(regions)).eval()


def gpt(tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes)).eval()


@pytest.mark.parametrize(("frames", "windows"), [(20, 2), (15, 2), (100, 1)])
def test_states_are_means_over_the_patches_of_a_window(frames, windows):
    model, values = coder(), np.random.default_rng(0).standard_normal((3, 44))
    found = region_states(model, values, frames)
    assert found.shape == (windows, 3, 16)
    span = min(frames, 40)
    part = torch.tensor(values[None, :, span * (windows - 1) : span * windows]).float()
    with torch.no_grad():
        expected = model.encode(model.patches(part))[0].mean(dim=1)
    torch.testing.assert_close(found[-1], expected)


def test_a_language_model_reads_the_encoder():
    series, target = slow_and_fast()
    people, model = list(series), coder()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    asked = {
        "train": people[:16],
        "question": QUESTION,
        "answers": AllowedAnswers.find(TOKENIZER, places=2),
        "frames": 20,
        "rank": 0,
    }
    llm = gpt(TOKENIZER)
    told = encoder_predictions(model, llm, TOKENIZER, series, target, steps=60, **asked)
    unseen = people[16:]
    assert max(told[p] for p in unseen[::2]) < min(told[p] for p in unseen[1::2])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    # targets of other people are not read
    changed = target | dict.fromkeys(unseen, 99.0)
    few = {**asked, "steps": 2}
    one, other = (
        encoder_predictions(model, gpt(TOKENIZER), TOKENIZER, series, t, **few)
        for t in (target, changed)
    )
    assert one == other


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return load_vlm(str(save_tiny_vlm(tmp_path_factory.mktemp("vlm"))))


@pytest.mark.parametrize(("steps", "rank"), [(0, 4), (2, 4), (2, 0)])
def test_a_vision_language_model_by_name_answers_for_everyone(vlm, steps, rank):
    model, processor = copy.deepcopy(vlm[0]), vlm[1]
    series, target = slow_and_fast(6)
    people = list(series)
    answers = AllowedAnswers.find(processor.tokenizer, places=2)
    asked = {"train": people[:4], "question": QUESTION, "answers": answers, "frames": 20}
    before = {k: v.clone() for k, v in model.state_dict().items()}
    told = vlm_predictions(model, processor, series, target, steps=steps, rank=rank, **asked)
    assert set(told) == set(people)
    assert all(0 <= value <= 99 for value in told.values())
    # pictures differ, and the model sees them
    assert len(set(told.values())) == len(people)
    weights = {k.replace(".base_layer", ""): v for k, v in model.state_dict().items()}
    changed = [k for k, v in before.items() if not torch.equal(weights[k], v)]
    assert bool(changed) == (steps > 0 and rank == 0)


def test_labels_of_a_vision_language_model_are_probabilities(vlm):
    series, target = slow_and_fast(4)
    labels = {p: "old" if v > 50 else "young" for p, v in target.items()}
    answers = AllowedAnswers.find(vlm[1].tokenizer, places=2, labels=("old", "young"))
    asked = {"train": list(series), "question": QUESTION, "answers": answers, "frames": 20}
    told = vlm_predictions(*vlm, series, labels, steps=0, rank=0, **asked)
    assert all(sum(odds) == pytest.approx(1) for odds in told.values())


def test_inputs_of_every_token_go_on_with_the_answer():
    seen = {
        "input_ids": torch.tensor([[5, 6, 7]]),
        "attention_mask": torch.ones(1, 3),
        "cross_attention_mask": torch.arange(6).reshape(1, 3, 2),
        "pixel_values": torch.zeros(1, 3, 8, 8),
        "image_grid_thw": torch.tensor([[1, 2, 2]]),
    }
    found = _continued(seen, torch.tensor([[8, 9]]))
    assert found["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert found["attention_mask"].shape == (1, 5)
    assert found["cross_attention_mask"][0, -1].tolist() == [4, 5]
    assert found["pixel_values"].shape == (1, 3, 8, 8)


def test_a_model_without_pictures_is_refused(tmp_path):
    gpt(TOKENIZER).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="AutoModelForImageTextToText"):
        load_vlm(str(tmp_path))
