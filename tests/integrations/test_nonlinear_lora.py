"""The nonlinear adapter as a method of PEFT: made, trained, saved and loaded by it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel, get_peft_model
from torch import nn

from fastbrain import accelerate_peft
from fastbrain.errors import InputError
from fastbrain.integrations.peft import NonlinearLoraConfig

X = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))


def base():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 7, bias=False))


def adapted(activation="gelu", model=None, targets=("0", "2")):
    model = model or base()
    torch.manual_seed(1)
    config = NonlinearLoraConfig(
        r=4, alpha=6.0, activation=activation, target_modules=list(targets)
    )
    model = get_peft_model(model, config)
    for name, value in model.named_parameters():
        if "nonlinear_lora_B" in name:
            nn.init.normal_(value, std=0.3)
    return model


@pytest.mark.parametrize("activation", [None, "gelu", "silu", "relu"])
def test_computes_the_adapter_of_the_paper(activation):
    model = adapted(activation, targets=["0"])
    layer = model.base_model.model[0]
    a, b = layer.nonlinear_lora_A["default"].weight, layer.nonlinear_lora_B["default"].weight
    act = {None: lambda t: t, "gelu": F.gelu, "silu": F.silu, "relu": F.relu}[activation]
    expected = layer.base_layer(X) + 1.5 * act(X @ a.T) @ b.T
    torch.testing.assert_close(layer(X), expected, rtol=1e-5, atol=1e-5)


def test_starts_as_the_frozen_model_and_trains_adapters_alone():
    model = get_peft_model(base(), NonlinearLoraConfig(target_modules=["0", "2"]))
    frozen = base()
    torch.testing.assert_close(model(X), frozen(X))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {n.split(".")[-3] for n, p in model.named_parameters() if p.requires_grad} == {
        "nonlinear_lora_A",
        "nonlinear_lora_B",
    }
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    target = torch.zeros(3, 5, 7)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(model(X), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    for name, value in frozen.state_dict().items():
        index, _, kind = name.partition(".")
        assert torch.equal(model.state_dict()[f"base_model.model.{index}.base_layer.{kind}"], value)


LOAD = """
import torch
from torch import nn
from peft import PeftModel

def loaded():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 7, bias=False))
    return PeftModel.from_pretrained(base, {folder!r})

try:
    loaded()
except Exception as error:
    assert "NONLINEAR_LORA" in str(error), error
else:
    raise AssertionError("PEFT alone must refuse the checkpoint")
import fastbrain.integrations.peft
model = loaded()
x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))
print(model(x).double().sum().item(), model.peft_config["default"].activation)
"""


@pytest.mark.slow
def test_a_fresh_process_reads_the_checkpoint_with_the_package_and_peft_alone_refuses_it(tmp_path):
    model = adapted("silu").eval()
    model.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "NONLINEAR_LORA"
    assert (config["activation"], config["r"], config["alpha"]) == ("silu", 4, 6.0)
    loaded = PeftModel.from_pretrained(base(), tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(X), model(X))
    code = LOAD.format(folder=str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    total, activation = ran.stdout.split()
    assert float(total) == pytest.approx(model(X).double().sum().item(), rel=1e-6)
    assert activation == "silu"


def test_a_nonlinear_adapter_cannot_be_merged():
    model = adapted("gelu")
    with pytest.raises(InputError, match="must have no activation, got 'gelu'"):
        model.merge_adapter()
    with pytest.raises(InputError, match="must have no activation"):
        model.merge_and_unload()
    linear = adapted(None)
    expected = linear(X)
    linear.merge_adapter(safe_merge=True)
    torch.testing.assert_close(linear(X), expected, rtol=1e-4, atol=1e-5)
    linear.unmerge_adapter()
    torch.testing.assert_close(linear(X), expected, rtol=1e-4, atol=1e-5)
    merged = linear.merge_and_unload()
    assert type(merged[0]) is nn.Linear
    torch.testing.assert_close(merged(X), expected, rtol=1e-4, atol=1e-5)


def test_several_adapters_add_up_and_can_be_turned_off():
    model = adapted("gelu")
    first = model(X)
    second = NonlinearLoraConfig(r=2, activation="relu", target_modules=["2"])
    model.add_adapter("second", second)
    assert torch.equal(model(X), first)
    model.base_model.set_adapter(["default", "second"])
    nn.init.ones_(model.base_model.model[2].nonlinear_lora_B["second"].weight)
    assert not torch.allclose(model(X), first)
    with model.disable_adapter():
        torch.testing.assert_close(model(X), base()(X))
    model.delete_adapter("second")
    model.base_model.set_adapter("default")
    assert torch.equal(model(X), first)


def test_half_weights_with_float32_adapters_keep_the_type_of_the_layer():
    model = adapted("gelu", base().bfloat16())
    assert model.base_model.model[0].nonlinear_lora_A["default"].weight.dtype == torch.float32
    out = model(X.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), adapted("gelu")(X), rtol=0.1, atol=0.1)


def test_compiles_and_needs_no_acceleration():
    model = adapted("gelu")
    report = accelerate_peft(model)
    assert report.swapped == report.left == ()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X), model(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "r must be 1 or more"),
        ({"activation": "tanh"}, "activation must be None"),
        ({"layers_pattern": "h"}, "layers_to_transform"),
    ],
    ids=["r", "activation", "pattern"],
)
def test_refuses_an_impossible_configuration(options, message):
    with pytest.raises(InputError, match=message):
        NonlinearLoraConfig(**{"target_modules": ["0"], **options})


def test_refuses_layers_that_are_not_linear():
    model = nn.Sequential(nn.Embedding(5, 4))
    with pytest.raises(InputError, match="got Embedding"):
        get_peft_model(model, NonlinearLoraConfig(target_modules=["0"]))
