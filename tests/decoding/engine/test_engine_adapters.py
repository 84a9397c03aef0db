"""Low-rank adapters on the layers: of PEFT, with an activation, and merged."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from engine_models import EOS, engine_model, hugging_face, some_embeds

from fastbrain import backend as use_backend
from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.errors import InputError
from fastbrain.ops._dispatch import observed

peft = pytest.importorskip("peft")
TARGETS = {"llama": ["q_proj", "v_proj", "down_proj", "gate_proj"], "gpt2": ["c_attn", "c_proj"]}
LONG = Sampling(max_new_tokens=9)


def _adapted(kind: str, config) -> torch.nn.Module:
    model = peft.get_peft_model(engine_model(kind), config).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:  # B starts at zero
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


def _lora(kind: str, **options):
    return peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=TARGETS[kind], fan_in_fan_out=kind == "gpt2", **options
    )


@pytest.mark.parametrize("step", ["kernel", "torch"])
@pytest.mark.parametrize("kind", TARGETS)
def test_lora_layers_are_read(kind, step):
    model, embeds = _adapted(kind, _lora(kind)), some_embeds(4, 6)
    expected = hugging_face(model, embeds, max_new_tokens=9)
    assert expected != hugging_face(engine_model(kind), embeds, max_new_tokens=9)
    engine = DecodeEngine(model, max_tokens=20, step=step)
    found = engine.generate(embeds, sampling=LONG, eos_token_id=EOS)
    assert [list(row) for row in found.tokens] == expected


@pytest.mark.parametrize("step", ["kernel", "torch"])
@pytest.mark.parametrize("activation", ["gelu", "silu", "relu", None])
def test_adapters_with_an_activation_are_read(activation, step):
    from fastbrain.integrations.peft import NonlinearLoraConfig, accelerate_peft

    config = NonlinearLoraConfig(r=4, activation=activation, target_modules=TARGETS["llama"])
    model, embeds = _adapted("llama", config), some_embeds(4, 6)
    expected = hugging_face(model, embeds, max_new_tokens=9)
    accelerate_peft(model)
    engine = DecodeEngine(model, max_tokens=20, step=step)
    found = engine.generate(embeds, sampling=LONG, eos_token_id=EOS)
    assert [list(row) for row in found.tokens] == expected


def test_fused_merged_disabled_and_several_adapters():
    from fastbrain.integrations.peft import accelerate_peft

    model, embeds = _adapted("llama", _lora("llama")), some_embeds(3, 6)
    model.add_adapter("second", _lora("llama"))
    for name, parameter in model.named_parameters():
        if "second" in name:
            parameter.data.normal_(0, 0.4, generator=torch.Generator().manual_seed(1))

    def both() -> None:
        engine = DecodeEngine(model, max_tokens=20)
        found = engine.generate(embeds, sampling=LONG, eos_token_id=EOS)
        expected = hugging_face(model, embeds, max_new_tokens=9)
        assert [list(row) for row in found.tokens] == expected

    both()
    model.base_model.set_adapter(["default", "second"])
    both()
    model.base_model.set_adapter("second")
    accelerate_peft(model)
    both()
    with model.disable_adapter():
        both()
    model.merge_adapter()
    both()


def _observed(model, backend: str | None, rows: int) -> tuple[list[list[int]], set[str]]:
    """Greedy tokens, and the backends of the adapted layers in all steps."""
    embeds, engine = some_embeds(rows, 6), DecodeEngine(model, max_tokens=20, step="torch")
    with nullcontext() if backend is None else use_backend(backend), observed() as calls:
        found = engine.generate(embeds, sampling=LONG, eos_token_id=EOS)
    assert {op for op, _ in calls} == {"lora_linear"}
    assert len(calls) >= 2 * len(TARGETS["llama"])  # prefill and steps
    return [list(row) for row in found.tokens], {name for _, name in calls}


@pytest.mark.parametrize("backend", [None, "cpu", "reference"])
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_adapters_are_read_by_the_op(several, backend):
    model = _adapted("llama", _lora("llama"))
    if several:
        model.add_adapter("second", _lora("llama"))
        for name, parameter in model.named_parameters():
            if "second" in name:
                parameter.data.normal_(0, 0.4, generator=torch.Generator().manual_seed(1))
        model.base_model.set_adapter(["default", "second"])
        layer = DecodeEngine(model, max_tokens=9, step="torch")._rows.net.layers[0]
        assert [len(part.branches) for part in (layer.q, layer.k)] == [1, 0]
    tokens, names = _observed(model, backend, 4)
    assert tokens == hugging_face(model, some_embeds(4, 6), max_new_tokens=9)
    assert names == {backend or "cpu"}


def test_variants_are_refused():
    model = _adapted("llama", _lora("llama", use_dora=True))
    assert "variant" in DecodeEngine.can_run(model)
    with pytest.raises(InputError, match="variant"):
        DecodeEngine(model, max_tokens=20)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (lambda: _lora("llama", modules_to_save=["lm_head"]), "ModulesToSaveWrapper"),
        (
            lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
            "puts tokens before the text",
        ),
    ],
    ids=["modules_to_save", "prompt_tuning"],
)
def test_other_changes_by_peft_are_refused(config, match):
    model = peft.get_peft_model(engine_model("llama"), config()).eval()
    assert match in DecodeEngine.can_run(model)


def test_adapters_of_this_package_are_read():
    from fastbrain.nn import AdapterConfig
    from fastbrain.nn.layers import AdaptedLinear

    model = engine_model("llama")
    for layer in model.model.layers:
        old = layer.mlp.up_proj
        new = AdaptedLinear(old.in_features, old.out_features, AdapterConfig(rank=3))
        with torch.no_grad():
            new.weight.copy_(old.weight)
            new.bias.zero_()
            new.adapter.b.normal_(0, 0.5, generator=torch.Generator().manual_seed(2))
        layer.mlp.up_proj = new.eval()
    embeds = some_embeds(3, 6)
    found = DecodeEngine(model, max_tokens=20).generate(embeds, sampling=LONG, eos_token_id=EOS)
    expected = hugging_face(model, embeds, max_new_tokens=9)
    assert [list(row) for row in found.tokens] == expected
