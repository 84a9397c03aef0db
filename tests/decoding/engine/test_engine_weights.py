"""Where the step of the engine reads weights and embeddings."""

from __future__ import annotations

import pytest
import torch
from engine_models import EOS, engine_model, some_embeds

from fastbrain.decoding import DecodeEngine
from fastbrain.errors import InputError


def test_weights_that_were_moved_are_not_read():
    llm = engine_model("llama")
    engine = DecodeEngine(llm, max_tokens=40)
    llm.share_memory()
    with pytest.raises(InputError, match="must stay where they were"):
        engine.generate([some_embeds(3)], eos_token_id=EOS)


class Elsewhere(torch.Tensor):
    """A tensor that holds no memory of its own, as quantised weights."""

    __torch_function__ = torch._C._disabled_torch_function_impl


def test_embeddings_without_memory_of_their_own_are_looked_up_by_the_model():
    llm = engine_model("llama")
    inputs = [some_embeds(3)]
    expected = DecodeEngine(llm, max_tokens=40).generate(inputs, eos_token_id=EOS).tokens
    embed = llm.get_input_embeddings()
    read = []
    forward = torch.nn.Embedding.forward
    weight = embed._parameters.pop("weight")
    embed.weight = torch.Tensor._make_subclass(Elsewhere, weight.detach())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.nn.Embedding, "forward", lambda self, x: read.append(x) or forward(self, x)
        )
        found = DecodeEngine(llm, max_tokens=40).generate(inputs, eos_token_id=EOS)
    assert found.tokens == expected
    assert len(read) > len(expected[0])
