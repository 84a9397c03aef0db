"""LLM4Brain asks each trial its own question: decoding, scoring, saliency and controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastbrain.data import WindowLoader
from fastbrain.errors import InputError
from fastbrain.llm4brain import (
    LLM4BrainDecoder,
    control_model,
    decode_windows,
    evaluate_model,
    pairwise_scorer,
    score_texts,
    token_saliency,
)
from fastbrain.lm import encode_answers, encode_prompts

ATOL = 1e-5  # fp32 attention over a cache, and over padding, sums in another order
QUESTIONS = ("what is it now ?", "there it is")


@pytest.fixture
def asking(store):
    """The store with a question for two trials of three; the others get the prompt of the run."""
    trials = [replace(t, instruction=("", *QUESTIONS)[i % 3]) for i, t in enumerate(store.trials)]
    return replace(store, trials=trials)


def asked_of(model, store, ids) -> list[str]:
    return [store.by_id[t].instruction or model.card.prompt for t in ids]


def naive(model, store, ids, texts, questions) -> np.ndarray:
    """One whole forward pass a window, nothing shared and nothing padded."""
    found = []
    for trial, text, question in zip(ids, texts, questions, strict=True):
        (batch,) = WindowLoader(store, [trial], batch_size=1, shuffle=False)
        prompt = encode_prompts(model.text_tokenizer, [question])[0][0]
        ids_, mask = encode_answers(model.text_tokenizer, [text])
        with torch.no_grad():
            nll = model.sequence_nll(model.prefix(batch.voxels), prompt, ids_, mask)
        found.append(float(nll) / int(mask.sum()))
    return np.array(found)


def test_each_window_is_asked_its_own_question(model, asking):
    ids = asking.split.test
    found = decode_windows(model, WindowLoader(asking, ids, batch_size=5, shuffle=False))
    asked = asked_of(model, asking, ids)
    assert found.questions == tuple(asked)
    for question in set(asked):
        loader = WindowLoader(asking, ids, batch_size=7, shuffle=False)
        one = decode_windows(model, loader, prompt=question)
        assert set(one.questions) == {question}
        for row, own in enumerate(asked):
            if own == question:
                assert found.texts[row] == one.texts[row]
    texts = [asking.by_id[t].text for t in ids]
    scores = score_texts(model, found, texts).numpy()
    expected = naive(model, asking, ids, texts, asked)
    np.testing.assert_allclose(np.diag(scores), expected, atol=ATOL, rtol=0)


def test_batches_without_instructions_get_the_prompt_of_the_model(model, store):
    loader = WindowLoader(store, store.split.test, batch_size=5, shuffle=False)
    found = decode_windows(model, loader)
    assert set(found.questions) == {model.card.prompt}
    assert found.mask is None


def test_controls_keep_the_question_and_change_the_brain(model, asking):
    ids = asking.split.test
    found = control_model(model, asking, ids, count=100, seed=1, batch_size=7)
    asked, texts = asked_of(model, asking, ids), [asking.by_id[t].text for t in ids]
    assert found.prompts == tuple(asked)
    np.testing.assert_allclose(
        found["true brain"].nll, naive(model, asking, ids, texts, asked), atol=ATOL, rtol=0
    )
    for row in (0, 99):
        partner = [ids[i] for i in found.partners[row]]
        expected = naive(model, asking, partner, texts, asked)
        np.testing.assert_allclose(found["deranged brain"].nll[row], expected, atol=ATOL, rtol=0)
    alone: dict[str, set[str]] = {}
    for question, text in zip(asked, found["prompt alone"].texts, strict=True):
        alone.setdefault(question, set()).add(text)
    assert all(len(said) == 1 for said in alone.values())


def test_equal_questions_give_the_numbers_of_one_prompt(model, store, asking):
    ids = asking.split.test
    trials = [replace(t, instruction=model.card.prompt) for t in asking.trials]
    asking = replace(asking, trials=trials)
    same, plain = (control_model(model, s, ids, seed=2) for s in (asking, store))
    np.testing.assert_array_equal(same["deranged brain"].nll, plain["deranged brain"].nll)
    assert same["true brain"].texts == plain["true brain"].texts
    assert pairwise_scorer(model, asking, ids)(asking) == pairwise_scorer(model, store, ids)(store)


def test_saliency_asks_each_window_too(model, asking):
    ids = asking.split.test
    found = token_saliency(model, WindowLoader(asking, ids, batch_size=4, shuffle=False))
    one = token_saliency(model, WindowLoader(asking, ids, batch_size=1, shuffle=False))
    torch.testing.assert_close(found, one, atol=1e-6, rtol=1e-3)


def test_noise_does_not_beat_chance_when_questions_tell_the_style(model, asking):
    """Voxels are noise, and the answer's words depend on the question alone."""
    style = {"": "it is a ball", QUESTIONS[0]: "now now now", QUESTIONS[1]: "the tree the lamp"}
    trials = [replace(t, text=style[t.instruction]) for t in asking.trials]
    asking = replace(asking, trials=trials)
    result = evaluate_model(model, asking, asking.split.test, bert=False)
    # the true text is the same for all partners, so only the brain could tell them apart
    for name in ("pairwise", "bleu1", "rougeL_f", "linear_two_way", "linear_pairwise"):
        assert result.score(name).p > 0.05, name
    assert result.score("linear_two_way").value == pytest.approx(0.5)


def test_questions_must_be_one_a_sample(model, asking):
    ids = asking.split.test
    decoder = LLM4BrainDecoder(model, prompts=asked_of(model, asking, ids))
    prefixes = decoder.read(WindowLoader(asking, ids, batch_size=8, shuffle=False))
    with pytest.raises(InputError, match="prefixes must be one a question"):
        decoder.write(prefixes[:2])
    with pytest.raises(InputError, match="texts must be one a question"):
        decoder.score(prefixes, ["it is"], np.zeros((1, 2), dtype=np.int64))
    model.card = None
    with pytest.raises(InputError, match="prompt must be given"):
        LLM4BrainDecoder(model, prompts=["what is it now ?", ""])


def test_a_refused_batch_leaves_the_mode_as_it_was(model):
    model.train()
    with pytest.raises(InputError, match="batches must"):
        decode_windows(model, ["no batch"])
    assert model.training
