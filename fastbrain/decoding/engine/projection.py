"""Linear layers with their low-rank adapters, read from the modules that hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import ops
from ...errors import InputError
from ...ops.module_checks import touched


@dataclass(frozen=True, eq=False)
class Branch:
    """Low-rank branch ``scale · act(x Aᵀ) Bᵀ`` with A (r, d_in) and B (d_out, r)."""

    a: Tensor
    b: Tensor
    scale: float
    activation: str | None


@dataclass(frozen=True, eq=False)
class Projection:
    """Linear layer with branches: weight (d_out, d_in) and bias (d_out,) or None."""

    weight: Tensor
    bias: Tensor | None
    branches: tuple[Branch, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """Map `x` (..., d_in) to (..., d_out); the first branch by :func:`ops.lora_linear`."""
        if not self.branches:
            return F.linear(x, self.weight, self.bias)
        first, *others = self.branches
        y = ops.lora_linear(
            x, self.weight, self.bias, first.a, first.b,
            scale=first.scale, activation=first.activation,
        )  # fmt: skip
        for branch in others:
            low = F.linear(x, branch.a)
            if branch.activation is not None:
                low = getattr(F, branch.activation)(low)
            y = y + branch.scale * F.linear(low, branch.b)
        return y

    def split(self, parts: int) -> tuple[Projection, ...]:
        """Cut the outputs into equal parts."""
        weights = self.weight.chunk(parts)
        biases = (None,) * parts if self.bias is None else self.bias.chunk(parts)
        cut = [[replace(one, b=b) for b in one.b.chunk(parts)] for one in self.branches]
        return tuple(
            Projection(weights[i], biases[i], tuple(one[i] for one in cut)) for i in range(parts)
        )


def projection_reason(module: Any) -> str | None:
    """Return None, or the reason why an adapted layer cannot be read."""
    if type(module).__name__ == "AdaptedLinear":
        return None if _is_own(module) else "is an AdaptedLinear of another package"
    base = module.base_layer
    name = type(module).__name__
    own = name in ("FusedLoraLinear", "NonlinearLoraLinear")
    if not (own or (type(module).__module__ == "peft.tuners.lora.layer" and name == "Linear")):
        return f"is a {type(module).__module__}.{name}"
    if "forward" in vars(module):
        return "has a forward pass of its own on the instance"
    why = touched(base) if isinstance(base, nn.Linear) else _converted_reason(base)
    if why is not None:
        return f"has a base layer that {why}"
    if getattr(module, "lora_variant", None):
        return "has adapters of a variant of LoRA"
    for adapter in _active(module):
        a, b = _pair(module, adapter)
        for part in (a, b):
            why = touched(part)
            if why is not None:
                return f"has an adapter that {why}"
        if b.bias is not None or a.weight.dtype != base.weight.dtype:
            return "has an adapter with a bias or of another precision"
        dropout = getattr(module, "lora_dropout", {})
        if adapter in dropout and type(dropout[adapter]) not in (nn.Identity, nn.Dropout):
            return f"has dropout of the kind {type(dropout[adapter]).__name__}"
    return None


def _converted_reason(base: Any) -> str | None:
    # the linear layer of GPT-2 holds its weight transposed
    return None if _transposed(base) else f"is a {type(base).__name__}"


def _transposed(module: Any) -> bool:
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"


def _is_own(module: Any) -> bool:
    return type(module).__module__ == "fastbrain.nn.layers"


def _active(module: Any) -> list[str]:
    """Names of the adapters that a PEFT layer adds to its base layer."""
    if module.disable_adapters or module.merged:
        return []
    holder = getattr(module, "lora_A", None)
    holder = module.nonlinear_lora_A if holder is None else holder
    return [name for name in module.active_adapters if name in holder]


def _pair(module: Any, name: str) -> tuple[Any, Any]:
    if hasattr(module, "nonlinear_lora_A"):
        return module.nonlinear_lora_A[name], module.nonlinear_lora_B[name]
    return module.lora_A[name], module.lora_B[name]


def _joined(branches: list[Branch]) -> tuple[Branch, ...]:
    """Put the branches of one activation side by side, so that a layer is one call of the op."""
    made = []
    for kind in dict.fromkeys(one.activation for one in branches):
        same = [one for one in branches if one.activation == kind]
        if len(same) == 1:
            made += same
            continue
        a = torch.cat([one.a for one in same])
        made.append(Branch(a, torch.cat([one.scale * one.b for one in same], dim=1), 1.0, kind))
    return tuple(made)


def projection_of(module: Any) -> Projection:
    """Read a linear layer, adapted or not, without copying its weight if it is not transposed.

    Raises
    ------
    InputError
        The module is of another kind.
    """
    if hasattr(module, "base_layer"):
        base = projection_of(module.base_layer)
        kinds = getattr(module, "activation", {})
        branches = []
        for name in _active(module):
            a, b = _pair(module, name)
            kind = kinds.get(name) if isinstance(kinds, dict) else None
            scale = float(module.scaling[name])
            branches.append(Branch(a.weight.detach(), b.weight.detach(), scale, kind))
        return replace(base, branches=_joined(branches))
    bias = None if module.bias is None else module.bias.detach()
    if _transposed(module):
        return Projection(module.weight.detach().t().contiguous(), bias)
    if not isinstance(module, nn.Linear):
        raise InputError(
            f"DecodeEngine: llm must have linear layers, got a {type(module).__name__}. Use "
            "fastbrain.decoding.generate."
        )
    weight = module.weight.detach()
    adapter = getattr(module, "adapter", None)
    if adapter is None or not adapter.enabled or not bool(torch.any(adapter.b)):
        return Projection(weight, bias)
    branch = Branch(adapter.a.detach(), adapter.b.detach(), adapter.scale, adapter.activation)
    return Projection(weight, bias, (branch,))
