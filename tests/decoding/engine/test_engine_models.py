"""Which language models the engine runs, and in which precisions."""

from __future__ import annotations

import pytest
import torch
from engine_models import engine_model, some_embeds

from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.errors import BackendError, InputError


def test_models_that_cannot_run_say_why():
    llm = engine_model("llama")
    assert DecodeEngine.can_run(llm) is None
    with pytest.raises(InputError, match="at most 64"):
        DecodeEngine(llm, max_tokens=65)
    with pytest.raises(InputError, match="weights must be one of"):
        DecodeEngine(llm, max_tokens=24, weights="int3")
    hook = llm.model.layers[1].mlp.up_proj.register_forward_hook(lambda *_: None)
    assert "has hooks" in DecodeEngine.can_run(llm)
    with pytest.raises(InputError, match="has hooks"):
        DecodeEngine(llm, max_tokens=24)
    hook.remove()
    llm.config.rope_parameters["rope_type"] = llm.model.rotary_emb.rope_type = "dynamic"
    assert "depends on the length" in DecodeEngine.can_run(llm)


def test_a_model_changed_in_a_way_that_no_check_knows_is_found_by_its_logits(monkeypatch):
    llm = engine_model("llama")
    monkeypatch.setattr(llm.model.layers[0].self_attn, "scaling", 0.1)
    DecodeEngine(llm, max_tokens=24)  # read where the model holds it
    monkeypatch.setattr(type(llm.model.norm), "forward", lambda self, x: x)
    with pytest.raises(InputError, match="reproduces"):
        DecodeEngine(llm, max_tokens=24)


def test_weights_that_are_not_finite_are_refused():
    llm = engine_model("llama")
    with torch.no_grad():
        llm.model.layers[0].mlp.up_proj.weight[3, 2] = torch.nan
    with pytest.raises(InputError, match="finite logits"):
        DecodeEngine(llm, max_tokens=24)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_half_precision_models_and_reduced_weights(kind):
    llm, embeds = engine_model(kind, sharpness=1.5), some_embeds(1, 5)
    with torch.no_grad():
        whole = torch.cat([embeds, llm.get_input_embeddings()(torch.tensor([[7]]))], dim=1)
        exact = llm(inputs_embeds=whole).logits[0, -1]
    # rounding of weights: 2^-9 in bfloat16, 1/254 of a row's largest in int8; 3 layers
    for weights, limit in (("bfloat16", 2e-2), ("int8", 5e-2)):
        rows = DecodeEngine(llm, max_tokens=24, weights=weights)._rows
        with torch.no_grad():
            rows.open(0, None, embeds[0])
            found = rows.step([0], [7])[0]
        assert 0 < float((found - exact).norm() / exact.norm()) < limit
    half = engine_model(kind, sharpness=1.5).bfloat16()
    engine = DecodeEngine(half, max_tokens=24)
    assert engine.step_kind == "kernel"
    assert DecodeEngine(half, max_tokens=24, step="torch").step_kind == "torch"
    found = engine.generate(
        some_embeds(1, 6), sampling=Sampling(max_new_tokens=5), eos_token_id=None
    )
    assert len(found.tokens[0]) == 5


def test_double_precision_steps_by_torch():
    llm = engine_model("llama").double()
    engine = DecodeEngine(llm, max_tokens=24)
    assert engine.step_kind == "torch"
    with pytest.raises(BackendError, match="float64"):
        DecodeEngine(llm, max_tokens=24, step="kernel")
