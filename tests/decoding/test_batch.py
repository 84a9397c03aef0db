"""Scoring with a shared prefix equals scoring each pair by itself."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from fastbrain.decoding import score_matrix
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
