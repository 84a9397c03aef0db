"""PEFT's models with our forward passes, and our adapters as a method of PEFT."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from fastbrain import accelerate_peft
from fastbrain.errors import InputError
from fastbrain.integrations.peft import FusedLoraLinear
from fastbrain.ops import backend

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    options = {"vocab_size": 32, "n_positions": 16, "n_embd": 24, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**options)).eval()


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 7, bias=False))


def adapted(base, targets, **options):
    """A LoRA model whose B is not zero, so that the branch counts."""
    torch.manual_seed(1)
    config = {"r": 4, "lora_alpha": 6, "target_modules": targets, **options}
    model = get_peft_model(base, LoraConfig(**config))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.2)
    return model.eval()


def of(model, inputs):
    out = model(inputs)
    return getattr(out, "logits", out)


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


X = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))
MODELS = {
    "llama": (llama, ["q_proj", "v_proj", "down_proj"], IDS),
    "plain": (plain, ["0", "2"], X),
}


@pytest.mark.parametrize("which", MODELS)
def test_forward_and_gradients_equal_peft(which):
    build, targets, inputs = MODELS[which]
    model = adapted(build(), targets)
    own = copy.deepcopy(model)
    report = accelerate_peft(model)
    assert len(report.swapped) == sum(n.endswith("lora_A") for n, _ in own.named_modules())
    assert report.left == ()
    expected, got = of(own, inputs), of(model, inputs)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for result in (expected, got):
        result.square().mean().backward()
    wanted = gradients(own)
    assert wanted
    assert all("lora_" in name for name in wanted)
    torch.testing.assert_close(gradients(model), wanted, rtol=1e-4, atol=1e-6)


def test_training_steps_equal_peft():
    model = adapted(llama(), ["q_proj", "up_proj"])
    own = copy.deepcopy(model)
    accelerate_peft(model)
    losses = []
    for each in (own, model):
        optimizer = torch.optim.AdamW([p for p in each.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(4):
            loss = each(IDS, labels=IDS).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.state_dict(), own.state_dict(), rtol=1e-2, atol=1e-3)


def test_generation_and_checkpoints_stay_those_of_peft(tmp_path):
    model = adapted(llama(), ["q_proj", "v_proj"])
    options = {"max_new_tokens": 5, "do_sample": False}
    expected = model.generate(input_ids=IDS, **options)
    keys, text = list(model.state_dict()), repr(model)
    report = accelerate_peft(model)
    assert torch.equal(model.generate(input_ids=IDS, **options), expected)
    assert list(model.state_dict()) == keys
    model.save_pretrained(tmp_path)
    stock = PeftModel.from_pretrained(llama(), tmp_path)
    torch.testing.assert_close(of(stock, IDS), of(model, IDS), rtol=1e-5, atol=1e-5)
    report.undo()
    assert repr(model) == text


def test_a_swapped_layer_follows_its_state():
    model = adapted(plain(), ["0", "2"], lora_dropout=0.5)
    own = copy.deepcopy(model)
    report = accelerate_peft(model)
    assert len(report.swapped) == 2
    x = torch.randn(4, 12)

    def same(**tolerance):
        torch.manual_seed(3)
        got = model(x)
        torch.manual_seed(3)
        torch.testing.assert_close(got, own(x), rtol=1e-5, atol=1e-5)

    same()
    for each in (model, own):
        each.train()  # dropout
    same()
    for each in (model, own):
        each.eval()
        each.add_adapter("second", LoraConfig(r=2, target_modules=["0"]))
        each.base_model.set_adapter(["default", "second"])
    same()
    with model.disable_adapter(), own.disable_adapter():
        same()
    for each in (model, own):
        each.base_model.set_adapter("default")
        each.merge_adapter()
    same()
    for each in (model, own):
        each.unmerge_adapter()
    same()
    seen = []
    layer = model.base_model.model[0]
    layer.base_layer.register_forward_hook(lambda *_: seen.append(1))
    same()
    assert seen == [1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"use_dora": True}, "DoraLinearVariant"),
        ({"lora_bias": True}, "not two plain linear layers"),
        ({"target_modules": ["1"]}, "lora.layer.Embedding"),
        ({"train": True, "lora_dropout": 0.1}, "drops out"),
        ({"half": True}, "its adapter is torch.float32, its weight torch.bfloat16"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_left_is_reported_with_its_reason(options, reason):
    options = dict(options)
    train, half = options.pop("train", False), options.pop("half", False)
    base = nn.Sequential(nn.Linear(4, 4), nn.Embedding(5, 4))
    model = adapted(
        base.bfloat16() if half else base, options.pop("target_modules", ["0"]), **options
    )
    if train:
        model.train()
    report = accelerate_peft(model)
    assert report.swapped == ()
    assert reason in report.left[0][1]
    assert reason in str(report)


def test_layers_that_are_not_linear_are_left():
    model = adapted(gpt2(), ["c_attn"], fan_in_fan_out=True)
    expected = of(model, IDS)
    report = accelerate_peft(model)
    assert report.swapped == ()
    assert "Conv1D" in report.left[0][1]
    assert torch.equal(of(model, IDS), expected)


def test_a_model_without_adapters_is_refused():
    with pytest.raises(InputError, match="must hold PEFT's adapter layers"):
        accelerate_peft(plain())


def test_runs_the_backend_that_is_asked_for_and_compiles():
    model = adapted(plain(), ["0", "2"])
    accelerate_peft(model)
    x = torch.randn(300, 12)
    expected = model(x)
    with backend("reference"):
        torch.testing.assert_close(model(x), expected)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)


def test_copies_of_an_accelerated_model_are_their_own():
    model = adapted(plain(), ["0"])
    accelerate_peft(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.base_model.model[0].lora_B["default"].weight.zero_()
    x = torch.randn(2, 12)
    assert type(other.base_model.model[0]) is FusedLoraLinear
    assert not torch.allclose(other(x), model(x))


@pytest.mark.slow
def test_the_package_imports_without_peft():
    code = "import sys; import fastbrain, fastbrain.ops; assert 'peft' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
