"""LLM4Brain under every control: the one pass equals the naive passes."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_run import PROMPT, made_model

from fastbrain.data import WindowLoader
from fastbrain.errors import InputError
from fastbrain.evaluation import (
    atlas_regions,
    common_trials,
    delay_sweep,
    delayed_store,
    evaluate_regions,
    noise_store,
    prompt_sweep,
    region_store,
)
from fastbrain.llm4brain import LLM4BrainDecoder, control_model, decode_windows, pairwise_scorer
from fastbrain.lm import encode_answers, encode_prompts
from fastbrain.stats import derangements, needed_pairs

# fp32 attention over a cache sums in another order
ATOL = 1e-5


@pytest.fixture
def unseen(store) -> WindowLoader:
    """Windows of the test part."""
    return WindowLoader(store, store.split.test, batch_size=5, shuffle=False)


def naive_nll(model, loader, texts) -> np.ndarray:
    """One whole forward pass a sample: prefix, prompt and text, nothing shared."""
    tokenizer = model.text_tokenizer
    prompt = encode_prompts(tokenizer, [model.card.prompt])[0][0]
    prefixes = torch.cat([model.prefix(batch.voxels) for batch in loader])
    ids, mask = encode_answers(tokenizer, texts)
    with torch.no_grad():
        nll = model.sequence_nll(prefixes, prompt, ids, mask)
    return (nll / mask.sum(dim=1)).numpy()


@pytest.fixture(scope="module")
def found(store, language):
    """A model with the weights of `model`, under every control."""
    model = made_model(store, language)
    model.card = SimpleNamespace(prompt=PROMPT)
    return control_model(model, store, store.split.test, count=100, seed=1, batch_size=7)


def test_every_control_is_there(found, store):
    n = len(store.split.test)
    for name in ("phase-randomised brain", "noise brain", "zero brain", "prompt alone"):
        assert found[name].nll.shape == (n,)
        assert len(found[name].texts) == n
    assert found["deranged brain"].nll.shape == (100, n)
    assert found["untuned model"].texts == found["prompt alone"].texts
    assert len(found["nearest training text"].texts) == n
    assert set(found["nearest training text"].texts) <= {
        store.by_id[t].text for t in store.split.train
    }
    assert len(found.scores()) == 6


def test_the_true_brain_is_decoded_as_always(found, model, unseen):
    assert found["true brain"].texts == decode_windows(model, unseen).texts


def test_equals_one_run_a_permutation(found, model, store):
    for row in (0, 99):
        partner = [store.split.test[i] for i in found.partners[row]]
        loader = WindowLoader(store, partner, batch_size=8, shuffle=False)
        expected = naive_nll(model, loader, found.truth)
        np.testing.assert_allclose(found["deranged brain"].nll[row], expected, atol=ATOL, rtol=0)
        assert tuple(found.deranged_texts(row)) == decode_windows(model, loader).texts


@pytest.mark.parametrize("kind", ["phase-randomised brain", "noise brain", "zero brain"])
def test_noise_equals_a_run_on_noise(kind, found, model, store):
    view = noise_store(store, kind, seed=1)
    loader = WindowLoader(view, store.split.test, batch_size=8, shuffle=False)
    expected = naive_nll(model, loader, found.truth)
    np.testing.assert_allclose(found[kind].nll, expected, atol=ATOL, rtol=0)
    assert found[kind].texts == decode_windows(model, loader).texts
    # random weights, but not blind
    assert np.abs(found[kind].nll - found["true brain"].nll).max() > 100 * ATOL


def test_prompt_alone_has_no_brain_token(found, model):
    tokenizer, llm = model.text_tokenizer, model.llm
    before = [
        tokenizer.bos_token_id,
        *tokenizer.encode(model.card.prompt, add_special_tokens=False),
    ]
    ids, mask = encode_answers(tokenizer, found.truth[:1])
    ids = ids[mask]
    logits = llm(input_ids=torch.tensor([[*before, *ids.tolist()]])).logits[0, len(before) - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, ids)
    assert found["prompt alone"].nll[0] == pytest.approx(float(expected), abs=ATOL)


def test_the_untuned_model_has_no_adapters(model):
    peft = pytest.importorskip("peft")
    # merging and unmerging rounds the weights, and the LLM belongs to every test
    model.llm = copy.deepcopy(model.llm)
    decoder = LLM4BrainDecoder(model)
    assert decoder.untuned() is None
    pair = np.zeros((1, 2), dtype=np.int64)

    def score() -> float:
        return float(decoder.score(decoder.read_nothing(), ["it is a ball"], pair)[0])

    bare = score()
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj"], modules_to_save=["norm"], init_lora_weights=False
    )
    with torch.random.fork_rng():
        model.llm = peft.get_peft_model(model.llm, config).eval()
    with torch.no_grad():
        model.llm.base_model.model.model.norm.modules_to_save["default"].weight.mul_(2)
    tuned = score()
    assert tuned != pytest.approx(bare, abs=10 * ATOL)
    with decoder.untuned():
        assert score() == pytest.approx(bare, abs=ATOL)
    assert score() == tuned
    model.llm.merge_adapter()
    with pytest.raises(InputError, match="must not be merged"), decoder.untuned():
        pass


def test_regions_and_delays(model, store):
    trials = common_trials(store, store.split.test, [-2, 0, 2])
    score = pairwise_scorer(model, store, trials)
    labels = np.ones(store.grid.shape, dtype=int)
    labels[2:] = 2
    regions = evaluate_regions(
        lambda name, mask: score(region_store(store, name, mask)),
        atlas_regions(labels, store=store),
    )
    delays = delay_sweep(lambda trs: score(delayed_store(store, int(trs))), [-2, 0, 2], unit="TR")
    assert [region.score.n for region in regions] == [len(trials)] * 2
    assert delays.scores[1] == score(store)
    assert len({delay.value for delay in delays.scores}) > 1


def test_prompt_lengths_from_one_pass(model, store, unseen):
    decoder = LLM4BrainDecoder(model)
    trials = [store.by_id[t] for t in store.split.test]
    truth, runs = [t.text for t in trials], [t.run_id for t in trials]
    partners = derangements(runs)
    pairs = needed_pairs(partners, truth)
    nll, mask = decoder.score_tokens(decoder.read(unseen), truth, pairs.index)
    found = prompt_sweep(*pairs.gather(nll), mask[pairs.true], [0, 1, 2, 3], blocks=runs)
    assert found.scores[0].value == pytest.approx(
        pairwise_scorer(model, store, store.split.test)(store).value
    )
    assert [score.n for score in found.scores] == [len(truth)] * 4


def test_only_the_test_part_is_scored(model, store):
    with pytest.raises(InputError, match="must be of the test part"):
        control_model(model, store, store.split.train)
    with pytest.raises(InputError, match="1 unknown"):
        pairwise_scorer(model, store, ["nobody"])


def test_a_decoder_needs_a_prompt(model):
    model.card = None
    with pytest.raises(InputError, match="prompt must be given"):
        LLM4BrainDecoder(model)
