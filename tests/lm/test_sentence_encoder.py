"""Encoders without a padding token or a stated length, and texts beyond their context."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smol_twin import smol_tokenizer
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from fastbrain.lm.sentence_embeddings import SentenceEncoder

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
}  # fmt: skip
KINDS = {"bert": (BertConfig, BertModel), "roberta": (RobertaConfig, RobertaModel)}
TEXTS = ["The man paints.", "A dog looks on, and a child throws a box over the wall."]
# unit rows from float32 states: padding changes the order of their sums
ROUNDING = 1e-6


def saved(folder, kind, *, positions=64, pad=False):
    tokenizer = smol_tokenizer()
    if not pad:
        tokenizer.pad_token = None
    config, model = KINDS[kind]
    made = config(
        vocab_size=len(tokenizer), max_position_embeddings=positions, pad_token_id=1, **SIZES
    )
    torch.manual_seed(0)
    model(made).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return SentenceEncoder(str(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_a_batch_equal_those_alone_without_a_padding_token(tmp_path, kind):
    encoder = saved(tmp_path, kind)
    together = encoder.layers(TEXTS)
    for text, layers in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder.layers([text])[0], layers, atol=ROUNDING)


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_longer_text_the_first_tokens_count(tmp_path, kind):
    encoder = saved(tmp_path, kind, pad=True)
    one, other = encoder.layers(["a dog " * 90 + "paints", "a dog " * 90 + "looks"])
    np.testing.assert_array_equal(one, other)
    within = encoder.layers(["a dog paints", "a dog looks"])
    assert np.abs(within[0] - within[1]).max() > 1e3 * ROUNDING
