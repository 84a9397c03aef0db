"""Positions of a language model, by whatever name and wherever its configuration states them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import GPT2Config, LlavaConfig, MambaConfig

from fastbrain.lm.context import context_of


@pytest.mark.parametrize(
    ("config", "context"),
    [
        (GPT2Config(n_positions=32), 32),
        (LlavaConfig(text_config={"model_type": "llama", "max_position_embeddings": 48}), 48),
        (MambaConfig(), None),
        (SimpleNamespace(max_position_embeddings=-1), None),
    ],
    ids=["own name", "of the text", "none", "no limit"],
)
def test_the_limit_is_found(config, context):
    assert context_of(SimpleNamespace(config=config)) == context
