"""The loop that a GPU runs as a graph, run here on the CPU, against the loop of the host."""

from __future__ import annotations

import pytest
import torch
from engine_models import EOS, VOCABULARY, engine_model, some_embeds

from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.errors import InputError

# float32 sums of 16 to 24 numbers in another order, over 3 layers and up to 9 tokens
REORDERED = 1e-4
CASES = {
    "greedy": Sampling(max_new_tokens=9),
    "min": Sampling(max_new_tokens=9, min_new_tokens=5),
    "penalty": Sampling(max_new_tokens=9, repetition_penalty=2.0),
    "sample": Sampling("sample", max_new_tokens=9, temperature=2.0, top_p=0.9, min_p=0.01),
    "one": Sampling(max_new_tokens=1),
}


def _engines(kind: str) -> tuple[DecodeEngine, DecodeEngine]:
    llm = engine_model(kind)
    host, device = (DecodeEngine(llm, max_tokens=18, step="torch") for _ in range(2))
    device._device_loop = True
    return host, device


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_it_writes_what_the_loop_of_the_host_writes(kind, case):
    host, device = _engines(kind)
    bias = torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(3))
    options = {"sampling": CASES[case], "log_probability": True, "seeds": [3, 1, 4, 1]}
    inputs = [some_embeds(n, seed=n) for n in (3, 9, 5, 1)]
    for ends in (EOS, None, list(range(12))):
        for biased in (None, bias):
            given = {"eos_token_id": ends, "logit_bias": biased, **options}
            expected, found = (one.generate(inputs, **given) for one in (host, device))
            assert found.tokens == expected.tokens
            assert found.finish == expected.finish
            near = pytest.approx(expected.log_probability, abs=REORDERED)
            assert found.log_probability == near


def test_it_stops_early_is_cancelled_and_finds_what_is_not_finite(monkeypatch):
    _, device = _engines("llama")
    steps, asked = [], []
    step = device._rows.network.step
    monkeypatch.setattr(
        device._rows.network, "step", lambda *args: (steps.append(1), step(*args))[1]
    )
    options = {"sampling": Sampling(max_new_tokens=15), "eos_token_id": list(range(52))}
    device.generate(some_embeds(1, 3), **options)
    assert len(steps) == 8  # ended at the first token, seen at the next look
    found = device.generate(
        some_embeds(1, 3), **{**options, "eos_token_id": None},
        cancelled=lambda: len(asked) == 1 or asked.append(1),
    )  # fmt: skip
    assert found.finish == ("cancelled",)
    assert len(found.tokens[0]) == 7
    monkeypatch.setattr(
        device._rows.network, "step", lambda *args: step(*args) * torch.tensor(torch.nan)
    )
    with pytest.raises(InputError, match="finite logits"):
        device.generate(some_embeds(1, 3), **{**options, "eos_token_id": None})
