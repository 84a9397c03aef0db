"""What others hang on a linear layer runs, though a fused path would read its weights alone."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.modules import module as nn_module
from torch.nn.utils import parametrizations, prune

from fastbrain import accelerate_peft
from fastbrain.integrations.peft import NonlinearLoraConfig
from fastbrain.nn.config import AdapterConfig
from fastbrain.nn.layers import SelfAttention
from fastbrain.ops import observed
from fastbrain.ops.module_checks import untouched


class _Twice(ModelHook):
    def post_forward(self, module, output):
        return output * 2


class _Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def _accelerate_hook(linear):
    add_hook_to_module(linear, _Twice())


def _forward_hook(linear):
    linear.register_forward_hook(lambda _m, _x, y: y * 2)


def _forward_pre_hook(linear):
    linear.register_forward_pre_hook(lambda _m, x: (x[0] * 2,))


def _backward_hook(linear):
    linear.register_full_backward_hook(lambda _m, grad_in, _out: tuple(g * 2 for g in grad_in))


def _backward_pre_hook(linear):
    linear.register_full_backward_pre_hook(lambda _m, grad_out: tuple(g * 2 for g in grad_out))


def _own_forward(linear):
    original = linear.forward
    linear.forward = lambda x: original(x) * 2


def _offload(linear):
    cpu_offload(linear, execution_device=torch.device("cpu"))


def _weight_norm(linear):
    parametrizations.weight_norm(linear)


def _halved(linear):
    nn.utils.parametrize.register_parametrization(linear, "weight", _Halved())


TOUCHES = {
    "accelerate hook": _accelerate_hook,
    "forward hook": _forward_hook,
    "forward pre-hook": _forward_pre_hook,
    "backward hook": _backward_hook,
    "backward pre-hook": _backward_pre_hook,
    "forward on the instance": _own_forward,
    "offload": _offload,
    "pruning": partial(prune.l1_unstructured, name="weight", amount=0.5),
    "weight norm": _weight_norm,
    "parametrisation": _halved,
}


def _lora():
    torch.manual_seed(0)
    config = LoraConfig(r=3, target_modules=["0"])
    return get_peft_model(nn.Sequential(nn.Linear(6, 5)), config)


def _nonlinear_lora():
    torch.manual_seed(0)
    config = NonlinearLoraConfig(r=3, target_modules=["0"])
    return get_peft_model(nn.Sequential(nn.Linear(6, 5)), config)


def _spoken(model):
    """B not zero, so that the branch counts; dropout off."""
    torch.manual_seed(1)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.3)
    return model.eval()


def _outcome(model, x):
    x = x.clone().requires_grad_()
    y = model(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    return y.detach(), gradient


def _base(model):
    return model.base_model.model[0].base_layer


def _a(model):
    layer = model.base_model.model[0]
    held = getattr(layer, "lora_A", None) or layer.nonlinear_lora_A
    return held["default"]


@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("inner", [_base, _a], ids=["base", "A"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_touched_lora_layer_runs_as_peft_runs_it(touch, inner, when):
    own, fused = _spoken(_lora()), _spoken(_lora())
    TOUCHES[touch](inner(own))
    if when == "before":
        TOUCHES[touch](inner(fused))
    report = accelerate_peft(fused)
    if when == "after":
        TOUCHES[touch](inner(fused))
    x = torch.randn(4, 6)
    for got, expected in zip(_outcome(fused, x), _outcome(own, x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    reasons = report.left if when == "before" else report.unfused()
    assert len(reasons) == 1
    assert reasons[0][1].startswith(f"its {'base layer' if inner is _base else 'A'} ")


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_touched_nonlinear_layer_calls_what_it_holds(touch):
    model = _spoken(_nonlinear_lora())
    base = copy.deepcopy(_base(model))
    layer = model.base_model.model[0]
    TOUCHES[touch](_base(model))
    TOUCHES[touch](base)
    x = torch.randn(4, 6)
    with observed() as ran:
        got = _outcome(model, x)
    assert ran == []

    def expected(x):
        return base(x) + layer._branch(x, "default")

    for one, other in zip(got, _outcome(expected, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("inner", ["qkv", "out"])
@pytest.mark.parametrize("activation", ["gelu", None])
def test_a_touched_projection_of_attention_is_called(touch, inner, activation):
    torch.manual_seed(0)
    model = SelfAttention(8, 2, AdapterConfig(rank=3, activation=activation))
    nn.init.normal_(model.q_adapter.b, std=0.3)
    x, mask = torch.randn(2, 5, 8), torch.rand(2, 1, 5, 5) > 0.3
    mask |= torch.eye(5, dtype=torch.bool)
    fused = _outcome(partial(model, mask=mask), x)
    calls = []
    touched = getattr(model, inner)
    handle = touched.register_forward_hook(lambda *_: calls.append(1))
    same = _outcome(partial(model, mask=mask), x)
    handle.remove()
    assert calls == [1]
    for got, expected in zip(same, fused, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    TOUCHES[touch](touched)
    with observed() as ran:
        changed = _outcome(partial(model, mask=mask), x)
    assert ran == []
    if touch not in ("offload", "weight norm"):  # those compute the same
        assert not torch.allclose(changed[1], fused[1], atol=1e-4)


def test_hooks_on_all_modules_are_seen():
    model = _spoken(_lora())
    report = accelerate_peft(model)
    assert report.unfused() == ()
    seen = []
    handle = nn_module.register_module_forward_hook(lambda m, *_: seen.append(m))
    try:
        model(torch.randn(2, 6))
        assert _base(model) in seen
        assert "hooks on all modules" in report.unfused()[0][1]
    finally:
        handle.remove()
    assert report.unfused() == ()


def test_a_hook_taken_away_gives_the_fused_path_back():
    model = _spoken(_lora())
    accelerate_peft(model)
    x = torch.randn(2, 6)
    add_hook_to_module(_base(model), _Twice())
    with observed() as ran:
        model(x)
    assert ran == []
    remove_hook_from_module(_base(model))
    assert "forward" in vars(_base(model))  # its own, left there by accelerate
    with observed() as ran:
        model(x)
    assert [op for op, _ in ran] == ["lora_linear"]


def test_undoing_below_an_accelerate_hook_keeps_the_output():
    model = _spoken(_lora())
    x = torch.randn(2, 6)
    expected = model(x) * 2
    report = accelerate_peft(model)
    add_hook_to_module(model.base_model.model[0], _Twice())
    torch.testing.assert_close(model(x), expected)
    report.undo()
    torch.testing.assert_close(model(x), expected)


def test_tensors_of_another_class_are_not_read_as_weights():
    class Packed(torch.Tensor):
        pass

    from fastbrain.ops.module_checks import holds_weight, touched

    linear = nn.Linear(3, 2)
    assert holds_weight(linear)
    assert touched(linear) is None
    linear._parameters["weight"] = torch.randn(2, 3).as_subclass(Packed)
    assert not holds_weight(linear)
    assert "Packed" in touched(linear)
    assert touched(nn.Linear(3, 2, device="meta")) == "has a weight that is a Parameter on meta"


def test_looking_costs_little():
    """A bound on the work, not on the time: no attribute goes through Module.__getattr__."""

    class Counted(nn.Linear):
        asked = 0

        def __getattr__(self, name):
            Counted.asked += 1
            return super().__getattr__(name)

    layers = [Counted(2, 2) for _ in range(4)]
    Counted.asked = 0
    assert untouched(*layers)
    assert Counted.asked == 0


class _Doubles(nn.Identity):
    def forward(self, x):
        return 2 * x


def test_a_dropout_of_another_kind_runs_as_peft_runs_it():
    own, fused = _spoken(_lora()), _spoken(_lora())
    report = accelerate_peft(fused)
    for model in (own, fused):
        layer = model.base_model.model[0]
        layer.lora_dropout.update({"default": _Doubles()})
    x = torch.randn(4, 6)
    for got, expected in zip(_outcome(fused, x), _outcome(own, x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert report.unfused()[0][1] == "its dropout is a _Doubles"
