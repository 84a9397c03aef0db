"""Scoring with a shared prefix equals scoring each pair by itself."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from fastbrain.decoding import mean_nll, score_matrix, score_pairs, score_steered
from fastbrain.errors import InputError

# fp32 attention over a cache sums in another order: observed 2e-6, bound 10x
CACHE_ATOL = 2e-5


@pytest.fixture
def llm():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=19, n_embd=12, n_layer=2, n_head=2)).eval()


@pytest.mark.parametrize("rows_at_once", [1, 4, 1000])
@pytest.mark.parametrize("length", [1, 5])
def test_equals_one_by_one(llm, rows_at_once, length):
    prefixes = torch.randn(3, 7, 12)
    texts = torch.randint(0, 19, (5, length))
    mask = torch.ones(5, length, dtype=torch.bool)
    mask[2, (length + 1) // 2 :] = False
    mask[2, 0] = True
    result = score_matrix(llm, prefixes, texts, mask, rows_at_once=rows_at_once)
    for i in range(3):
        for j in range(5):
            ids = texts[j][mask[j]]
            embeds = torch.cat([prefixes[i], llm.get_input_embeddings()(ids)])[None]
            logits = llm(inputs_embeds=embeds).logits[0, 6 : 6 + len(ids)]
            expected = torch.nn.functional.cross_entropy(logits, ids)
            assert float(result[i, j]) == pytest.approx(float(expected), abs=CACHE_ATOL)


def test_refuses_empty_text(llm):
    with pytest.raises(InputError, match="at least one token"):
        score_matrix(
            llm,
            torch.randn(1, 2, 12),
            torch.zeros(1, 3, dtype=torch.long),
            torch.zeros(1, 3, dtype=torch.bool),
        )


@pytest.mark.parametrize("rows_at_once", [1, 3, 1000])
def test_pairs_are_entries_of_the_matrix(llm, rows_at_once):
    prefixes, texts = torch.randn(4, 7, 12), torch.randint(0, 19, (6, 5))
    mask = torch.arange(5) < torch.tensor([1, 5, 3, 2, 4, 5])[:, None]
    pairs = torch.tensor([[3, 0], [0, 5], [3, 2], [0, 5], [1, 1], [3, 4]])
    tokens = score_pairs(llm, prefixes, texts, mask, pairs, rows_at_once=rows_at_once)
    assert (tokens[~mask[pairs[:, 1]]] == 0).all()
    matrix = score_matrix(llm, prefixes, texts, mask)
    torch.testing.assert_close(
        mean_nll(tokens, mask[pairs[:, 1]]), matrix[pairs[:, 0], pairs[:, 1]], rtol=0, atol=1e-5
    )


def test_every_prefix_is_read_once(llm):
    rows = []
    llm.register_forward_pre_hook(
        lambda _, __, given: (
            rows.append(len(given["inputs_embeds"])) if "inputs_embeds" in given else None
        ),
        with_kwargs=True,
    )
    pairs = torch.cartesian_prod(torch.tensor([0, 2, 3]), torch.arange(8))
    texts = torch.randint(0, 19, (8, 4))
    score_pairs(llm, torch.randn(5, 7, 12), texts, texts >= 0, pairs, rows_at_once=6)
    assert sum(rows) == 3  # prefixes 1 and 4 are asked for nowhere


@pytest.mark.parametrize("pairs", [[[0, 4]], [[-1, 0]], [[2, 0]]])
def test_refuses_pairs_of_nothing(llm, pairs):
    texts = torch.ones(4, 2, dtype=torch.long)
    with pytest.raises(InputError, match="2 prefixes and 4 texts"):
        score_pairs(llm, torch.randn(2, 3, 12), texts, texts > 0, torch.tensor(pairs))


def one_by_one(llm, prefix, mask, bias, ids):
    embeds = torch.cat([prefix[mask], llm.get_input_embeddings()(ids)])[None]
    first = int(mask.sum()) - 1
    logits = llm(inputs_embeds=embeds).logits[0, first : first + len(ids)] + bias
    return torch.nn.functional.cross_entropy(logits, ids, reduction="none")


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_padded_prefixes_and_biased_words(llm, masked, biased):
    prefixes, texts = torch.randn(3, 7, 12), torch.randint(0, 19, (4, 5))
    mask = torch.arange(5) < torch.tensor([1, 5, 3, 2])[:, None]
    front = torch.ones(3, 7, dtype=torch.bool)
    if masked:
        front[0, :2] = front[2, 3] = False
    bias = torch.randn(3, 19) * 2 if biased else torch.zeros(3, 19)
    pairs = torch.tensor([[2, 0], [0, 1], [2, 2], [1, 3], [0, 3]])
    found = score_pairs(
        llm,
        prefixes,
        texts,
        mask,
        pairs,
        prefix_mask=front if masked else None,
        logit_bias=bias if biased else None,
    )
    for row, (i, j) in zip(found, pairs.tolist(), strict=True):
        expected = one_by_one(llm, prefixes[i], front[i], bias[i], texts[j][mask[j]])
        torch.testing.assert_close(row[mask[j]], expected, rtol=0, atol=CACHE_ATOL)


def test_steered_scores_are_those_of_the_pairs(llm):
    prefix, texts = torch.randn(1, 3, 12), torch.randint(0, 19, (6, 5))
    mask = torch.arange(5) < torch.tensor([1, 5, 3, 2, 4, 5])[:, None]
    # a bias of hundreds must not overflow
    bias = torch.randn(4, 19) * torch.tensor([0.0, 1.0, 5.0, 200.0])[:, None]
    found = score_steered(llm, prefix, texts, mask, bias)
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(6))
    expected = score_pairs(llm, prefix.expand(4, -1, -1), texts, mask, pairs, logit_bias=bias)
    torch.testing.assert_close(found, expected.sum(dim=1).reshape(4, 6), rtol=1e-5, atol=1e-4)
    with pytest.raises(InputError, match="logit_bias must have 1 rows of"):
        score_pairs(llm, prefix, texts, mask, pairs * 0, logit_bias=bias)


def test_a_bias_for_what_the_language_model_rules_out_is_normalised(llm):
    prefix, texts = torch.randn(1, 3, 12), torch.tensor([[4, 7, 1]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    # all but token 0 lose more to the bias than float32 has, and token 0 has lost as much before
    bias = torch.zeros(1, 19)
    bias[0, 0] = 120.0
    head = llm.get_output_embeddings()

    def unlikely(module, inputs, logits):
        logits[..., 0] -= 130.0

    hook = head.register_forward_hook(unlikely)
    try:
        found = score_steered(llm, prefix, texts, mask, bias)
        pairs = torch.zeros(1, 2, dtype=torch.long)
        expected = score_pairs(llm, prefix, texts, mask, pairs, logit_bias=bias)
    finally:
        hook.remove()
    torch.testing.assert_close(found[0, 0], expected.sum(), rtol=1e-5, atol=1e-4)
