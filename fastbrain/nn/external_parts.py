"""Exclude external parts (LLM, vision model) from the state dict of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def leave_out(
    module: nn.Module, names: tuple[str, ...], *, but: Callable[[str], bool] = lambda name: False
) -> None:
    """Exclude parameters from the state dict, and accept their absence when it is loaded.

    Parameters
    ----------
    module : Module
    names : tuple of str
        Prefixes of the parameter names, for example ``"llm."``.
    but : callable
        Whether a parameter of these is in the state dict nevertheless.
    """

    def drop(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
        foreign = tuple(prefix + name for name in names)
        for key in [k for k in state if k.startswith(foreign) and not but(k)]:
            del state[key]

    def expect_none(_: nn.Module, keys: Any) -> None:
        # the module may be a part of a larger one, which adds a prefix to the keys
        keys.missing_keys[:] = [
            k
            for k in keys.missing_keys
            if but(k) or not any(f".{name}" in f".{k}" for name in names)
        ]

    module.register_state_dict_post_hook(drop)
    module.register_load_state_dict_post_hook(expect_none)
