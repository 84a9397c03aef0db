"""Spread the layers of a frozen language model over devices, memory and disk, by accelerate."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ConfigError, MissingPartError
from ..nn.config_io import require

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
DeviceMap = str | Mapping[str, int | str]
_MARK = "_fastbrain_placed"


def parse_device_map(text: str) -> str | dict[str, int | str]:
    """Read a device map from a command line: a strategy, or JSON of module names and devices.

    Raises
    ------
    ConfigError
        The text is neither.
    """
    if not text.lstrip().startswith("{"):
        return text
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"device_map: JSON must be readable, got '{text}': {error}. Write it as "
            '\'{"model.embed_tokens": 0, "model.layers": 1, ...}\'.'
        ) from error
    assert isinstance(found, dict)
    return found


def is_device_map(value: Any) -> bool:
    """Whether a value of a configuration is a strategy or a map of module names to devices."""
    if isinstance(value, str):
        return value in STRATEGIES
    return isinstance(value, Mapping) and bool(value) and all(map(_is_entry, *_columns(value)))


def check_device_map(value: DeviceMap, *, function: str = "load_llm", alone: bool = True) -> None:
    """Raise if a language model cannot be spread in this way here.

    Parameters
    ----------
    value : str or mapping of str to int or str
        "auto", "balanced", "balanced_low_0", "sequential", or the device of each named module:
        the number of a GPU, "cpu" or "disk".
    function : str
        Name of the calling function, for messages.
    alone : bool
        Whether this process is the only one that trains.

    Raises
    ------
    ConfigError
        The map is none, names a GPU that is absent, or several processes train.
    MissingPartError
        accelerate is not installed.
    """
    if not is_device_map(value):
        raise ConfigError(
            f"{function}: device_map must be one of {', '.join(STRATEGIES)} or give each module a "
            f"GPU number, 'cpu' or 'disk', got {value!r}."
        )
    if not alone:
        raise ConfigError(
            f"{function}: device_map must be None with several processes, got {value!r}: each "
            "process has its own GPU and its own copy of the language model. Start one process, "
            "or leave the map out."
        )
    for place in set(value.values()) if isinstance(value, Mapping) else ():
        if place == "disk" or (isinstance(place, str) and torch.device(place).type == "cpu"):
            continue
        there = torch.cuda.device_count()
        index = place if isinstance(place, int) else torch.device(place).index or 0
        if index >= there:
            raise ConfigError(
                f"{function}: device_map must name devices of this machine, got {place!r} with "
                f"{there} CUDA GPUs. Use 'cpu' or 'disk', or another map."
            )
    if importlib.util.find_spec("accelerate") is None:
        raise MissingPartError(
            f"{function}: device_map must have accelerate to spread the language model. "
            "pip install accelerate."
        )


def require_device_map(config: Any) -> None:
    """Raise unless `llm_device_map` of a run configuration is one and the model stays frozen."""
    value = config.llm_device_map
    if value is None:
        return
    contract = f"be one of {', '.join(STRATEGIES)}, or map modules to a GPU, 'cpu' or 'disk'"
    require(config, "llm_device_map", is_device_map(value), contract)
    contract = "be 0 with llm_device_map, which is for a frozen language model"
    require(config, "llm_rank", config.llm_rank == 0, contract)


def how_loaded(record: Any) -> dict[str, Any]:
    """Return the options of :func:`load_llm` that a run configuration or a model card records."""
    return {"bits": record.llm_bits, "device_map": record.llm_device_map}


def keep_in_place(llm: Any) -> None:
    """Leave a model where its map put it when a model that contains it is moved."""
    setattr(llm, _MARK, True)
    llm._apply = lambda fn, recurse=True: llm


def is_placed(llm: Any) -> bool:
    """Whether a device map says where the layers of a language model are."""
    base = llm.get_base_model() if hasattr(llm, "get_base_model") else llm
    return bool(getattr(base, _MARK, False))


def weight_value(llm: Any, name: str) -> Any:
    """Return a parameter of a language model, read from memory or disk if it is kept there."""
    weight = llm.get_parameter(name)
    if weight.device.type != "meta":
        return weight
    from accelerate.utils import align_module_device

    module, _, leaf = name.rpartition(".")
    owner = llm.get_submodule(module)
    with align_module_device(owner, "cpu"):
        return getattr(owner, leaf).detach().clone()


def _columns(value: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(value), list(value.values())


def _is_entry(name: Any, place: Any) -> bool:
    if not isinstance(name, str):
        return False
    if isinstance(place, int):
        return not isinstance(place, bool) and place >= 0
    if place == "disk":
        return True
    try:
        return isinstance(place, str) and torch.device(place).type in ("cpu", "cuda")
    except RuntimeError:
        return False
