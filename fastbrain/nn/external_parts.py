"""Parts of a model that are referenced by its files, not copied into them."""

from __future__ import annotations

from typing import Any

from torch import nn


def leave_out(module: nn.Module, names: tuple[str, ...]) -> None:
    """Leave parts of a module out of its state dict, and do not miss them when it is loaded.

    Parameters
    ----------
    module : Module
    names : tuple of str
        What their parameters begin with: ``"llm."``.
    """

    def drop(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
        foreign = tuple(prefix + name for name in names)
        for key in [k for k in state if k.startswith(foreign)]:
            del state[key]

    def expect_none(_: nn.Module, keys: Any) -> None:
        # the module may be part of a larger one, whose name stands in front
        keys.missing_keys[:] = [
            k for k in keys.missing_keys if not any(f".{name}" in f".{k}" for name in names)
        ]

    module.register_state_dict_post_hook(drop)
    module.register_load_state_dict_post_hook(expect_none)
