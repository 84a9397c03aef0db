"""Choice of the next token: the part of a vocabulary that is ordered does not change a draw."""

from __future__ import annotations

import pytest
import torch

from fastbrain.decoding import Sampling, sampling
from fastbrain.decoding.sampling import draw, nucleus, pick, pick_at

VOCABULARY = 9001
CASES = {
    "top-p": {"top_p": 0.9},
    "wide top-p": {"top_p": 0.999, "temperature": 3.0},
    "min-p": {"min_p": 0.05},
    "both": {"top_p": 0.95, "min_p": 0.01, "temperature": 0.7},
    "all": {},
}


def logits(kind, rows=7):
    generator = torch.Generator().manual_seed(3)
    found = torch.randn(rows, VOCABULARY, generator=generator)
    if kind == "peaked":
        return 6 * found
    if kind == "tied":  # a few values, each of thousands of tokens
        return (2 * found).round()
    if kind == "forbidden":
        return found.masked_fill(torch.arange(VOCABULARY) % 3 > 0, -torch.inf)
    return found if kind == "plain" else torch.zeros(rows, VOCABULARY)


def whole(monkeypatch):
    monkeypatch.setattr(sampling, "_PARTS", ())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["plain", "peaked", "tied", "equal", "forbidden"])
def test_a_part_gives_the_tokens_of_the_whole(kind, case, monkeypatch):
    config, given = Sampling("sample", **CASES[case]), logits(kind)
    uniform = torch.rand(len(given), generator=torch.Generator().manual_seed(5))

    def drawn():
        generator = torch.Generator().manual_seed(8)
        picked = [pick(given, config, generator) for _ in range(3)]
        return [*picked, pick_at(given, config, uniform), torch.rand(1, generator=generator)]

    probability, index = nucleus(given, config)
    found = drawn()
    whole(monkeypatch)
    expected, all_index = nucleus(given, config)
    kept = expected > 0
    assert torch.equal(probability[kept[:, : probability.shape[1]]], expected[kept])
    assert not expected[:, probability.shape[1] :].any()
    assert torch.equal(index[kept[:, : index.shape[1]]], all_index[kept])
    for one, other in zip(found, drawn(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("case", [{"temperature": 1e-3}, {"top_p": 1e-6}])
def test_the_smallest_settings_draw_the_likeliest_token(case):
    config = Sampling("sample", **case)
    for kind in ("peaked", "forbidden"):
        given = logits(kind)
        generator = torch.Generator().manual_seed(5)
        uniform = torch.rand(len(given), generator=generator)
        assert torch.equal(pick(given, config, generator), given.argmax(dim=1))
        assert torch.equal(draw(given, config, uniform), given.argmax(dim=1))


def test_only_a_part_of_a_peaked_distribution_is_ordered():
    config = Sampling("sample", top_p=0.9)
    assert nucleus(logits("peaked"), config)[0].shape[1] == sampling._PARTS[0]
    assert nucleus(logits("plain"), Sampling("sample"))[0].shape[1] == VOCABULARY
