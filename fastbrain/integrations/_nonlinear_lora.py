"""Nonlinear low-rank adapter of LLM4Brain as a PEFT method.

``y = x Wᵀ + bias + (alpha / r) · act(x Aᵀ) Bᵀ`` (arXiv 2409.17987, fig. 2). B starts at zero. An
adapter with an activation cannot be merged into W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_adapters_to_merge
from peft.utils import PeftType, register_peft_method
from torch import Tensor, nn

from .. import ops
from .._arguments import checked
from ..errors import InputError
from ..nn.config import ACTIVATIONS
from ..ops.module_checks import holds_weight, untouched

NAME = "NONLINEAR_LORA"


@checked
@dataclass
class NonlinearLoraConfig(PeftConfig):
    """Adapters with an activation between A and B.

    Parameters
    ----------
    r : int
        Rank, the number of rows of A.
    alpha : float
        The branch is scaled by alpha / r.
    activation : {"gelu", "silu", "relu"} or None
        None makes it plain LoRA, which can be merged.
    target_modules : list of str or str
        Names, their ends, or one regular expression of the linear layers to adapt.
    exclude_modules, modules_to_save, layers_to_transform, layers_pattern
        As in ``peft.LoraConfig``.
    """

    r: int = field(default=8)
    alpha: float = field(default=8.0)
    activation: str | None = field(default="gelu")
    target_modules: list[str] | str | None = field(default=None)
    exclude_modules: list[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)
    layers_to_transform: list[int] | int | None = field(default=None)
    layers_pattern: list[str] | str | None = field(default=None)

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ValueError as error:
            raise InputError(
                f"NonlinearLoraConfig: task_type must be one of PEFT's, got: {error}"
            ) from error
        self.peft_type = _peft_type()
        for name in ("target_modules", "exclude_modules"):
            value = getattr(self, name)
            setattr(self, name, set(value) if isinstance(value, list) else value)
        if self.r < 1:
            raise InputError(f"NonlinearLoraConfig: r must be 1 or more, got {self.r}.")
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise InputError(
                "NonlinearLoraConfig: activation must be None, gelu, silu or relu, "
                f"got {self.activation!r}."
            )
        if self.layers_pattern and self.layers_to_transform is None:
            raise InputError(
                "NonlinearLoraConfig: layers_pattern must come with layers_to_transform, got None. "
                "Say which layers."
            )


class NonlinearLoraLinear(nn.Module, BaseTunerLayer):
    """Linear layer with nonlinear adapters."""

    adapter_layer_names = ("nonlinear_lora_A", "nonlinear_lora_B")
    other_param_names = ("r", "scaling", "activation")

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: NonlinearLoraConfig
    ) -> None:
        super().__init__()
        self.base_layer: Any = base_layer
        base: Any = self.get_base_layer()
        self.in_features: int = base.in_features
        self.out_features: int = base.out_features
        self.r: dict[str, int] = {}
        self.scaling: dict[str, float] = {}
        self.activation: dict[str, str | None] = {}
        self.nonlinear_lora_A = nn.ModuleDict()
        self.nonlinear_lora_B = nn.ModuleDict()
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: NonlinearLoraConfig) -> None:
        """Add an adapter with B = 0."""
        a = nn.Linear(self.in_features, config.r, bias=False)
        b = nn.Linear(config.r, self.out_features, bias=False)
        nn.init.kaiming_uniform_(a.weight, a=math.sqrt(5))
        nn.init.zeros_(b.weight)
        self.r[adapter_name] = config.r
        self.scaling[adapter_name] = config.alpha / config.r
        self.activation[adapter_name] = config.activation
        self.nonlinear_lora_A[adapter_name] = a
        self.nonlinear_lora_B[adapter_name] = b
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Map `x` (..., d_in) to (..., d_out)."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        names = [name for name in self.active_adapters if name in self.nonlinear_lora_A]
        if self.disable_adapters or self.merged or not names:
            return self.base_layer(x, *args, **options)
        if not args and not options and self._fuses(x, names[0]):
            y = self._fused(x, names.pop(0))
        else:
            y = self.base_layer(x, *args, **options)
        for name in names:
            y = y + self._branch(x, name).to(y.dtype)
        return y

    def _adapter(self, name: str) -> tuple[Any, Any]:
        return self.nonlinear_lora_A[name], self.nonlinear_lora_B[name]

    def _fuses(self, x: Tensor, name: str) -> bool:
        base, (a, b) = self.base_layer, self._adapter(name)
        return bool(
            holds_weight(base)
            and holds_weight(a)
            and holds_weight(b)
            and x.dtype == base.weight.dtype == a.weight.dtype == b.weight.dtype
            and untouched(base, a, b)
        )

    def _fused(self, x: Tensor, name: str) -> Tensor:
        a, b = self._adapter(name)
        return ops.lora_linear(
            x,
            self.base_layer.weight,
            self.base_layer.bias,
            a.weight,
            b.weight,
            scale=self.scaling[name],
            activation=self.activation[name],
        )

    def _branch(self, x: Tensor, name: str) -> Tensor:
        a, b = self._adapter(name)
        low = a(self._cast_input_dtype(x, a.weight.dtype))
        activation = self.activation[name]
        return b(low if activation is None else getattr(F, activation)(low)) * self.scaling[name]

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Return the change of the weight by an adapter without activation."""
        a, b = self._adapter(adapter)
        return (b.weight @ a.weight) * self.scaling[adapter]

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the adapters to the weight.

        Raises
        ------
        InputError
            An adapter has an activation, or `safe_merge` finds a value that is not finite.
        """
        names = check_adapters_to_merge(self, adapter_names)
        names = [name for name in names if name in self.nonlinear_lora_A]
        for name in names:
            if self.activation[name] is not None:
                raise InputError(
                    f"merge: adapter '{name}' must have no activation, got "
                    f"{self.activation[name]!r}. Keep it beside the weight: "
                    "a nonlinear branch is no sum of weights."
                )
        weight: Any = self.get_base_layer().weight
        for name in names:
            merged = weight.data + self.get_delta_weight(name).to(weight.dtype)
            if safe_merge and not merged.isfinite().all():
                raise InputError(f"merge: adapter '{name}' must be finite, got NaN or infinity.")
            weight.data = merged
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Subtract the merged adapters from the weight."""
        weight: Any = self.get_base_layer().weight
        while self.merged_adapters:
            weight.data -= self.get_delta_weight(self.merged_adapters.pop()).to(weight.dtype)

    def __repr__(self) -> str:
        return "nonlinear_lora." + super().__repr__()


class NonlinearLoraModel(BaseTuner):
    """Model with nonlinear adapters on its target layers; made by ``peft.get_peft_model``."""

    prefix = "nonlinear_lora_"
    tuner_layer_cls = NonlinearLoraLinear
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
        **_options: Any,
    ) -> None:
        if isinstance(target, NonlinearLoraLinear):
            target.update_layer(adapter_name, peft_config)
            return
        base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        if not isinstance(base, nn.Linear):
            raise InputError(
                f"NonlinearLoraModel: target '{current_key}' must be an nn.Linear, "
                f"got {type(base).__name__}. Name linear layers in target_modules."
            )
        layer = NonlinearLoraLinear(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)


def _peft_type() -> Any:
    """Return our member of the ``PeftType`` enumeration of PEFT; add it on first use."""
    if NAME not in PeftType.__members__:
        # Python enumerations cannot be extended, and PEFT accepts only members of its enumeration
        member = str.__new__(PeftType, NAME)
        member._name_, member._value_ = NAME, NAME
        PeftType._member_map_[NAME] = member
        PeftType._member_names_.append(NAME)
        PeftType._value2member_map_[NAME] = member
        type.__setattr__(PeftType, NAME, member)
    return PeftType.__members__[NAME]


def _register() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if _peft_type() not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(
            name=NAME.lower(),
            config_cls=NonlinearLoraConfig,
            model_cls=NonlinearLoraModel,
            prefix=NonlinearLoraModel.prefix,
        )


_register()
