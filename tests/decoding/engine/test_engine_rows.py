"""Rows, prefixes and rewinding: what a row gets depends on its own input only."""

from __future__ import annotations

import threading

import pytest
import torch
from engine_models import EOS, KINDS, VOCABULARY, WIDTH, engine_model, some_embeds

from fastbrain.decoding import DecodeEngine, Sampling, generate
from fastbrain.errors import InputError

# float32 sums of 16 to 24 numbers in another order, over 3 layers
REORDERED = 1e-4
METHODS = {
    "greedy": Sampling(max_new_tokens=8),
    "sample": Sampling("sample", max_new_tokens=8, temperature=2.0, top_p=0.9, seed=5),
    "min-p": Sampling("sample", max_new_tokens=8, temperature=2.0, min_p=0.05, seed=5),
    "beam": Sampling("beam", max_new_tokens=6, beams=3),
}


@pytest.mark.parametrize("step", ["kernel", "torch"])
@pytest.mark.parametrize("method", METHODS)
def test_a_row_does_not_depend_on_its_neighbours(method, step):
    engine = DecodeEngine(engine_model("qwen3"), max_tokens=32, step=step)
    options = {"sampling": METHODS[method], "eos_token_id": EOS, "log_probability": True}
    inputs = [some_embeds(n, seed=n) for n in (3, 9, 5, 1, 7)]
    together = engine.generate(inputs, **options)
    for row, embeds in enumerate(inputs):
        alone = engine.generate([embeds], **options)
        assert together.tokens[row] == alone.tokens[0]
        assert together.finish[row] == alone.finish[0]
        close = REORDERED if step == "torch" else 0.0
        assert together.log_probability[row] == pytest.approx(alone.log_probability[0], abs=close)


@pytest.mark.parametrize(("kind", "weights"), [("gemma2", "model"), ("llama-bias", "int8")])
def test_the_kernel_gives_a_row_the_same_bits_in_any_batch(kind, weights):
    engine = DecodeEngine(engine_model(kind), max_tokens=32, batch=7, weights=weights)
    rows = engine._rows
    with torch.no_grad():
        for row in range(7):
            rows.open(row, None, some_embeds(row + 2, seed=row))
        lengths = list(rows.cache.lengths)
        together = rows.step(list(range(7)), list(range(10, 17)))
        for row in range(7):
            rows.cache.lengths = list(lengths)
            assert torch.equal(rows.step([row], [10 + row])[0], together[row])


@pytest.mark.parametrize("kind", KINDS)
def test_both_steps_agree_with_the_model(kind):
    llm = engine_model(kind)
    inputs = [some_embeds(n, seed=n) for n in (6, 3)]
    ids = torch.randint(VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(1))
    for step in ("kernel", "torch"):
        rows = DecodeEngine(llm, max_tokens=16, batch=2, step=step)._rows
        with torch.no_grad():
            found = [torch.stack([rows.open(i, None, x) for i, x in enumerate(inputs)])]
            found += [rows.step([0, 1], ids[:, t].tolist()).clone() for t in range(5)]
            for i, embeds in enumerate(inputs):
                whole = torch.cat([embeds, llm.get_input_embeddings()(ids[i])])
                expected = llm(inputs_embeds=whole[None]).logits[0, len(embeds) - 1 :]
                assert torch.stack(found)[:, i].sub(expected).abs().max() < REORDERED


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3", "gpt2"])
def test_a_prefix_changes_nothing_but_is_read_once(kind, method):
    engine = DecodeEngine(engine_model(kind), max_tokens=32, batch=2)
    options = {"sampling": METHODS[method], "eos_token_id": EOS}
    before, windows = some_embeds(6, seed=1), some_embeds(4, 3, seed=2)
    expected = engine.generate([torch.cat([before, w]) for w in windows], **options)
    engine.set_prefix(before)
    # one window after the other, so that each finds the cache of the one before it
    found = [engine.generate(w[None], **options) for w in windows]
    assert tuple(one.tokens[0] for one in found) == expected.tokens
    assert engine.generate(windows, **options).tokens == expected.tokens
    engine.set_prefix(None)
    assert engine.generate(windows, **options).tokens != expected.tokens


def test_rows_may_have_prefixes_of_their_own_and_no_further_input():
    engine = DecodeEngine(engine_model("llama"), max_tokens=32)
    options = {"sampling": Sampling(max_new_tokens=6), "eos_token_id": EOS}
    texts = [some_embeds(n, seed=n) for n in (4, 2)]
    first, second = (engine.prefix(text) for text in texts)
    assert (len(first), len(second)) == (4, 2)
    inputs = [some_embeds(3, seed=9), some_embeds(0)]
    for order in ([first, second], [second, first], [first, first]):
        found = engine.generate(inputs, prefixes=order, **options)
        known = {id(first): texts[0], id(second): texts[1]}
        whole = [torch.cat([known[id(p)], x]) for p, x in zip(order, inputs, strict=True)]
        assert found.tokens == engine.generate(whole, **options).tokens


def test_padding_is_left_out():
    llm = engine_model("llama")
    embeds = some_embeds(2, 9)
    mask = torch.tensor([[0, 0, 1, 1, 0, 1, 1, 1, 1], [1] * 9])
    options = {"sampling": Sampling(max_new_tokens=6), "eos_token_id": EOS}
    expected = generate(llm, embeds, attention_mask=mask, **options)
    found = DecodeEngine(llm, max_tokens=24).generate(embeds, attention_mask=mask, **options)
    lengths = expected.lengths.tolist()
    assert [list(row) for row in found.tokens] == [
        row[:n] for row, n in zip(expected.tokens.tolist(), lengths, strict=True)
    ]


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_bias_and_log_probabilities_follow_their_row(method):
    llm = engine_model("gpt2")
    bias = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(2)) * 3
    sampling = Sampling(method, max_new_tokens=6, beams=3, repetition_penalty=1.3)
    options = {"sampling": sampling, "eos_token_id": EOS, "logit_bias": bias}
    expected = generate(llm, some_embeds(3, 4), **options)
    found = DecodeEngine(llm, max_tokens=12).generate(
        some_embeds(3, 4), log_probability=True, **options
    )
    for row, n in enumerate(expected.lengths.tolist()):
        assert list(found.tokens[row]) == expected.tokens[row, :n].tolist()
        total = float(expected.log_probability[row])
        assert found.log_probability[row] == pytest.approx(total, abs=10 * REORDERED)


def test_sampling_is_seeded_by_row():
    engine = DecodeEngine(engine_model("llama"), max_tokens=24)
    same = some_embeds(1, 4).expand(4, -1, -1)
    sampling = Sampling("sample", max_new_tokens=12, temperature=3.0, seed=1)
    found = engine.generate(same, sampling=sampling, eos_token_id=None, seeds=[1, 2, 1, 3])
    assert found.tokens[0] == found.tokens[2]
    assert len(set(found.tokens)) == 3
    plain = engine.generate(same[:1], sampling=sampling, eos_token_id=None)
    assert plain.tokens[0] == found.tokens[0]


def test_sampling_follows_the_distribution():
    engine = DecodeEngine(engine_model("llama", sharpness=1.0), max_tokens=8)
    embeds, draws = some_embeds(1, 3), 400
    sampling = Sampling("sample", max_new_tokens=1, temperature=0.5, top_p=0.6)
    found = engine.generate(
        embeds.expand(draws, -1, -1), sampling=sampling, eos_token_id=None, seeds=range(draws)
    )
    with torch.no_grad():
        odds = (engine._llm(inputs_embeds=embeds).logits[0, -1] / 0.5).softmax(-1)
    ordered, index = odds.sort(descending=True)
    kept = int((ordered.cumsum(0) - ordered < 0.6).sum())
    expected = ordered[:kept] / ordered[:kept].sum()
    counts = torch.tensor([[row[0] for row in found.tokens].count(i) for i in index[:kept]])
    assert int(counts.sum()) == draws  # nothing outside the nucleus
    # five standard errors of a share at most
    assert (counts / draws - expected).abs().max() < 5 * 0.5 / draws**0.5


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_a_call_that_is_cancelled_at_once_writes_nothing(method):
    engine = DecodeEngine(engine_model("llama"), max_tokens=30)
    asked = Sampling(method, max_new_tokens=9, beams=2)
    options = {"sampling": asked, "eos_token_id": None, "log_probability": True}
    found = engine.generate(some_embeds(2, 4), cancelled=lambda: True, **options)
    assert found.tokens == ((), ())
    assert found.finish == ("cancelled", "cancelled")
    assert found.log_probability == (0.0, 0.0)
    calls = []
    found = engine.generate(
        some_embeds(2, 4), cancelled=lambda: len(calls) == 2 or calls.append(1), **options
    )
    assert [len(row) for row in found.tokens] == [2, 2]


def test_tokens_are_reported_and_cancelled_within_one():
    engine = DecodeEngine(engine_model("llama"), max_tokens=24)
    seen, stop = [], threading.Event()

    def on_token(event):
        seen.append((event.row, event.step, event.token))
        if event.step == 2:
            stop.set()

    options = {"sampling": Sampling(max_new_tokens=9), "eos_token_id": None}
    whole = engine.generate(some_embeds(2, 4), **options)
    assert whole.finish == ("length", "length")
    found = engine.generate(some_embeds(2, 4), on_token=on_token, cancelled=stop.is_set, **options)
    assert found.finish == ("cancelled", "cancelled")
    assert found.tokens == tuple(row[:3] for row in whole.tokens)
    assert sorted(seen) == [(r, s, whole.tokens[r][s]) for r in range(2) for s in range(3)]
    assert 0 < found.first_token_s <= found.total_s
    before = engine.generate(some_embeds(1, 4), cancelled=lambda: True, **options)
    assert before.tokens == ((),)
    with pytest.raises(InputError, match="callback"):
        engine.generate(
            some_embeds(1, 4),
            on_token=lambda _: engine.generate(some_embeds(1, 2), **options),
            **options,
        )
    assert engine.generate(some_embeds(2, 4), **options).tokens == whole.tokens


def test_threads_take_turns():
    engine = DecodeEngine(engine_model("llama"), max_tokens=32)
    options = {"sampling": Sampling(max_new_tokens=20), "eos_token_id": None}
    inputs = [some_embeds(1, 4, seed=s) for s in range(6)]
    expected = [engine.generate(one, **options).tokens for one in inputs]
    found = [None] * 6

    def work(i):
        found[i] = engine.generate(inputs[i], **options).tokens

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@pytest.mark.parametrize(
    ("given", "options", "match"),
    [
        (torch.zeros(2, WIDTH), {}, "inputs must be floating-point"),
        (torch.zeros(1, 3, WIDTH + 1), {}, "inputs must be floating-point"),
        (torch.zeros(1, 0, WIDTH), {}, "1 or more positions"),
        ([torch.zeros(3, WIDTH), torch.zeros(2)], {}, "list of"),
        (torch.full((1, 3, WIDTH), torch.nan), {}, "must be finite"),
        (torch.zeros(1, 30, WIDTH), {}, "fit the cache of 24 positions"),
        ("a text", {}, "DecodeEngine.embed"),
        (torch.zeros(1, 3, WIDTH), {"eos_token_id": VOCABULARY}, "eos_token_id"),
        (torch.zeros(1, 3, WIDTH), {"eos_token_id": []}, "eos_token_id"),
        (torch.zeros(1, 3, WIDTH), {"eos_token_id": "tokenizer"}, "tokenizer must be given"),
        (torch.zeros(1, 3, WIDTH), {"seeds": [1, 2]}, "seeds must be 1"),
        (torch.zeros(1, 3, WIDTH), {"prefixes": ["a"]}, "Prefix or None"),
        (torch.zeros(1, 3, WIDTH), {"prefixes": [None, None]}, "one for each of 1"),
        (torch.zeros(1, 3, WIDTH), {"sampling": "greedy"}, "sampling must be"),
        (torch.zeros(1, 3, WIDTH), {"constraint": object()}, "constraint must have"),
        (torch.zeros(1, 3, WIDTH), {"attention_mask": torch.ones(1, 2).long()}, "attention_mask"),
        (torch.zeros(1, 3, WIDTH), {"logit_bias": torch.zeros(2, VOCABULARY)}, "logit_bias"),
    ],
)
def test_bad_input_is_refused(given, options, match):
    engine = DecodeEngine(engine_model("llama"), max_tokens=24)
    sampling = Sampling(max_new_tokens=4)
    with pytest.raises(InputError, match=match):
        engine.generate(given, **{"sampling": sampling, "eos_token_id": EOS, **options})


def test_an_empty_batch_gives_nothing():
    engine = DecodeEngine(engine_model("llama"), max_tokens=24)
    assert engine.generate([], eos_token_id=EOS).tokens == ()
    assert engine.generate(torch.zeros(0, 3, WIDTH), eos_token_id=EOS).tokens == ()
