"""PEFT integration: fused forward passes for LoRA layers, and a nonlinear adapter method.

Names, adapters and checkpoints keep the format of PEFT. Importing this module registers the method
``NONLINEAR_LORA``; import it before loading such an adapter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .. import ops
from .._arguments import checked
from ..errors import InputError, MissingPartError

try:
    from peft.tuners import lora
    from peft.tuners.tuners_utils import BaseTunerLayer
except ImportError as error:
    raise MissingPartError(
        "fastbrain.integrations.peft: peft must be installed. "
        "Run: pip install 'fastbrain-fmri[peft]'."
    ) from error

from ..ops.module_checks import holds_weight, touched, untouched
from ._nonlinear_lora import NonlinearLoraConfig, NonlinearLoraLinear, NonlinearLoraModel

__all__ = [
    "Acceleration",
    "NonlinearLoraConfig",
    "NonlinearLoraLinear",
    "NonlinearLoraModel",
    "accelerate_peft",
]


class FusedLoraLinear(lora.Linear):
    """LoRA layer of PEFT with a fused forward pass; unsupported cases use that of PEFT."""

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Map `x` (..., d_in) to (..., d_out)."""
        parts = None if args or options else _plain_parts(self, x)
        if parts is None:
            # not super(): a hook may still hold this method after the class was changed back
            return lora.Linear.forward(self, x, *args, **options)
        name, base, a, b = parts
        return ops.lora_linear(
            x, base["weight"], base["bias"], a["weight"], b["weight"], scale=self.scaling[name]
        )


def _plain_parts(layer: Any, x: Tensor) -> tuple[str, Any, Any, Any] | None:
    """Return the active adapter and the parameters of its linear layers, or None if unsupported.

    A faster form of :func:`objection` that returns no reason and bypasses ``Module.__getattr__``:
    it runs at every call, and a single row takes only as long as a few dozen attribute look-ups.
    """
    active, modules = layer._active_adapter, layer._modules
    if type(active) is list and len(active) == 1:
        active = active[0]
    if type(active) is not str or layer._disable_adapters or layer.merged_adapters:
        return None
    base, dropout = modules["base_layer"], modules["lora_dropout"]._modules.get(active)
    a, b = modules["lora_A"]._modules.get(active), modules["lora_B"]._modules.get(active)
    if not (holds_weight(base) and holds_weight(a) and holds_weight(b)):
        return None
    if active in layer.lora_variant:
        return None
    if type(dropout) is not nn.Identity and (type(dropout) is not nn.Dropout or dropout.training):
        return None
    weights = base._parameters, a._parameters, b._parameters
    if weights[2]["bias"] is not None:
        return None
    for held in weights:
        if held["weight"].dtype is not x.dtype:
            return None
    return (active, *weights) if untouched(base, a, b, dropout) else None


@dataclass(frozen=True)
class Acceleration:
    """Result of :func:`accelerate_peft`.

    Parameters
    ----------
    swapped : tuple of str
        Layers with a fused forward pass.
    left : tuple of (str, str)
        Adapter layers that keep the forward pass of PEFT, each with the reason.
    """

    swapped: tuple[str, ...]
    left: tuple[tuple[str, str], ...]
    _layers: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        lines = [f"{len(self.swapped)} layers fused, {len(self.left)} left as they were"]
        return "\n".join([*lines, *(f"  {name}: {reason}" for name, reason in self.left)])

    def unfused(self) -> tuple[tuple[str, str], ...]:
        """Return the swapped layers that would now run the forward pass of PEFT, with the reasons.

        Hooks, pruning or offload may have been added to a layer since it was swapped.
        """
        pairs = zip(self.swapped, self._layers, strict=True)
        found = ((name, objection(layer)) for name, layer in pairs)
        return tuple((name, reason) for name, reason in found if reason is not None)

    def undo(self) -> None:
        """Restore the forward pass of PEFT in every swapped layer."""
        own: type = lora.Linear
        for layer in self._layers:
            if type(layer) is FusedLoraLinear:
                layer.__class__ = own


@checked
def accelerate_peft(model: nn.Module) -> Acceleration:
    """Fuse the forward pass of the LoRA layers of a PEFT model.

    A swapped layer checks its state at every call. The forward pass of PEFT runs while the layer is
    merged, disabled, called with several adapters or trained with dropout. It also runs while one
    of the inner linear layers has hooks, a `forward` set on the instance (accelerate), or a weight
    that is computed (pruning, weight norm, parametrisations), quantised or offloaded.

    Parameters
    ----------
    model : Module
        Model from ``get_peft_model`` or ``PeftModel.from_pretrained``.

    Returns
    -------
    Acceleration
        Layers that were swapped, and those that were not with the reasons; ``undo()`` reverts.

    Raises
    ------
    InputError
        The model has no adapter layer.
    """
    swapped: dict[str, Any] = {}
    left = []
    for name, layer in model.named_modules():
        if not isinstance(layer, BaseTunerLayer) or isinstance(layer, NonlinearLoraLinear):
            continue
        reason = objection(layer)
        if reason is None:
            swapped[name] = layer
            swapped[name].__class__ = FusedLoraLinear
        else:
            left.append((name, reason))
    if not swapped and not left and not any(_nonlinear(m) for m in model.modules()):
        raise InputError(
            f"accelerate_peft: model must hold PEFT's adapter layers, got {type(model).__name__} "
            "with none. Make one with peft.get_peft_model."
        )
    return Acceleration(tuple(swapped), tuple(left), tuple(swapped.values()))


def objection(layer: Any) -> str | None:
    """Return None, or the reason why a layer currently needs the forward pass of PEFT."""
    if type(layer) not in (lora.Linear, FusedLoraLinear):
        return f"it is a {type(layer).__module__}.{type(layer).__qualname__}"
    base = layer.base_layer
    if type(base) is not nn.Linear:
        return f"its base layer is a {type(base).__qualname__}"
    if "forward" in vars(layer):
        return "it has a forward pass of its own on the instance"
    if layer.disable_adapters or layer.merged:
        return "its adapters are merged or disabled"
    if len(layer.active_adapters) != 1:
        return f"{len(layer.active_adapters)} adapters are active"
    name = layer.active_adapters[0]
    if name not in layer.lora_A:
        return f"the active adapter '{name}' is not on it"
    if name in layer.lora_variant:
        return f"it is a variant, {type(layer.lora_variant[name]).__name__}"
    a, b, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    for part, inner in (("base layer", base), ("A", a), ("B", b), ("dropout", dropout)):
        reason = touched(inner)
        if reason is not None:
            return f"its {part} {reason}"
    if type(a) is not nn.Linear or type(b) is not nn.Linear or b.bias is not None:
        return "its adapter is not two plain linear layers"
    if type(dropout) not in (nn.Identity, nn.Dropout):
        return f"its dropout is a {type(dropout).__qualname__}"
    if dropout.training and type(dropout) is nn.Dropout:
        return "it drops out while it trains"
    if a.weight.dtype != base.weight.dtype or b.weight.dtype != base.weight.dtype:
        return f"its adapter is {a.weight.dtype}, its weight {base.weight.dtype}"
    if a.weight.device != base.weight.device:
        return f"its adapter is on {a.weight.device}, its weight on {base.weight.device}"
    return None


def _nonlinear(module: nn.Module) -> bool:
    return isinstance(module, NonlinearLoraLinear)
