"""Checks whether a fused path may read the weights of a module instead of calling it.

Other packages can change the result of a module without changing its weights: hooks (on the module
or global), a `forward` set on the instance (accelerate), pruning and weight norm (both compute the
weight before each call), parametrisations (another class), weights stored elsewhere (offload).
"""

from __future__ import annotations

from typing import Any

import torch.nn.modules.module as _module
from torch import Tensor, nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL = (
    _module._global_forward_hooks,
    _module._global_forward_pre_hooks,
    _module._global_backward_hooks,
    _module._global_backward_pre_hooks,
)


def untouched(*modules: Any) -> bool:
    """Return whether a call of each module runs only the forward pass of its class.

    Parameters
    ----------
    *modules : Module
    """
    before, after, back, back_before = _GLOBAL
    if before or after or back or back_before:
        return False
    for module in modules:
        own = module.__dict__
        if (
            own["_forward_hooks"]
            or own["_forward_pre_hooks"]
            or own["_backward_hooks"]
            or own["_backward_pre_hooks"]
            or ("forward" in own and _replaced(module))
        ):
            return False
    return True


def _replaced(module: Any) -> bool:
    """Return whether the `forward` on the instance differs from the one of its class.

    accelerate leaves the method of the class on the instance; that one does not count.
    """
    forward = module.__dict__["forward"]
    own = getattr(forward, "__func__", None) is type(module).forward
    return not own or forward.__self__ is not module


def holds_weight(module: Any) -> bool:
    """Return whether a module is a plain ``nn.Linear`` with a dense weight stored in the module.

    Parameters
    ----------
    module : Module
    """
    if type(module) is not nn.Linear:
        return False
    weight = module._parameters.get("weight")
    # other tensor classes (quantised, distributed) implement their own product
    return type(weight) is nn.Parameter or type(weight) is Tensor


def touched(module: nn.Module) -> str | None:
    """Return the reason why the weights of a layer do not determine its output, or None."""
    if "forward" in module.__dict__ and _replaced(module):
        return "has a forward pass of its own on the instance (accelerate sets one)"
    if any(_GLOBAL):
        return "is under hooks on all modules"
    if any(getattr(module, kind) for kind in _HOOKS):
        return "has hooks"
    if not isinstance(module, nn.Linear):
        return None
    if type(module) is not nn.Linear:
        return f"is a {type(module).__qualname__}"
    weight = module._parameters.get("weight")
    if weight is None:
        return "computes its weight (pruning or weight norm)"
    if not holds_weight(module) or weight.is_meta:
        return f"has a weight that is a {type(weight).__name__} on {weight.device}"
    return None
