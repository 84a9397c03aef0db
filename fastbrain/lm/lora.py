"""LoRA on language models through PEFT: attach, save as a stock adapter, load strictly."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .._io import read_json, sha256, verify, write_atomic, write_json
from ..errors import CheckpointError, CohortError, MissingPartError
from ..nn.saved_folder import load_tensors
from .loading import model_digest
from .quantised import is_quantised

FOLDER = "adapter"
_FILES = ("adapter_config.json", "adapter_model.safetensors")
_MARK = ".lora_"
_BASE = "base"  # in the metadata of the weights: digest of the language model below them


def with_lora(llm: Any, rank: int, **options: Any) -> Any:
    """Add LoRA to all linear layers; rank 0 trains the whole model.

    Parameters
    ----------
    llm : PreTrainedModel
        Its layers are replaced in place.
    rank : int
    **options
        Further arguments of peft's ``LoraConfig``.

    Returns
    -------
    PeftModel
        Or the model itself for rank 0.

    Raises
    ------
    MissingPartError
        peft is not installed.
    """
    if not rank:
        return llm.requires_grad_(True)
    peft = _peft("train: rank must be 0 without peft.")
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", **options)
    return peft.get_peft_model(llm, config)


class TunedLLM:
    """LoRA on the language model of a brain decoder.

    PEFT replaces layers of the language model, which the decoder calls as before; this object
    saves what was trained.

    Parameters
    ----------
    llm : PreTrainedModel
        Its layers are replaced in place.
    rank : int
    seed : int
        Seed of the initial weights.

    Raises
    ------
    MissingPartError
        peft is not installed.
    """

    def __init__(self, llm: Any, rank: int, *, seed: int = 0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.peft = with_lora(llm, rank, task_type="CAUSAL_LM")

    def save(self, folder: Path) -> dict[str, str]:
        """Write a stock PEFT adapter; return the sha256 of its files."""
        config = self.peft.peft_config["default"].to_dict()
        config = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
        # the adapter is found by its run, and PEFT would look for a model of this name on the hub
        config |= {"base_model_name_or_path": None, "inference_mode": True}
        from peft import get_peft_model_state_dict
        from safetensors.torch import save

        weights = get_peft_model_state_dict(self.peft)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _FILES[0], config)
        plain = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
        base = self.peft.get_base_model()
        # quantised weights depend on the package that made them
        known = {} if is_quantised(base) else {_BASE: model_digest(base)}
        write_atomic(folder / _FILES[1], save(plain, {"format": "pt", **known}))
        return digests(folder)


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to LoRA."""
    return _MARK in name


def digests(folder: Path) -> dict[str, str]:
    """Hex sha256 of the files of a saved adapter."""
    return {name: sha256(folder / name) for name in _FILES}


def copy_adapter(source: Path, target: Path) -> dict[str, str]:
    """Copy a saved adapter; return the sha256 of its files."""
    target.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        with open(source / name, "rb") as file:
            write_atomic(target / name, partial(shutil.copyfileobj, file))
    return digests(target)


def check_adapter(folder: Path, files: Mapping[str, str], *, function: str) -> None:
    """Compare the files of a saved adapter with their recorded digests.

    Raises
    ------
    CheckpointError
        A file is missing or damaged.
    """
    try:
        if sorted(files) != sorted(_FILES):
            raise CheckpointError(f"{function}: {folder} must hold {', '.join(_FILES)}.")
        verify(folder, dict(files), error=CheckpointError)
    except (CohortError, OSError) as error:
        raise CheckpointError(f"{function}: {folder} must hold the adapter: {error}") from error


def adapter_files(model: Path, files: Mapping[str, str], *, function: str) -> list[str]:
    """List the checked files of the adapter of a saved model, from its folder; [] without one."""
    if files:
        check_adapter(model / FOLDER, files, function=function)
    return [f"{FOLDER}/{name}" for name in files]


def merge_adapter(llm: Any, folder: Path, files: Mapping[str, str], *, function: str) -> Any:
    """Merge a saved adapter into a language model, in place.

    The adapter of a quantised model stays beside its weights, which cannot hold the sum.

    Parameters
    ----------
    llm : PreTrainedModel
        The model that the adapter was trained on.
    folder : Path
    files : mapping of str to str
        Recorded sha256 of the files.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, a tensor is missing, extra or reshaped, or the language
        model is another one.
    MissingPartError
        peft is not installed.
    """
    peft = _peft(f"{function}: peft must be installed for a run that tuned its language model.")
    check_adapter(folder, files, function=function)
    found = load_tensors(folder / _FILES[1], function=function)
    with safe_open(folder / _FILES[1], "pt") as file:
        wanted = (file.metadata() or {}).get(_BASE)
    base = None if wanted is None or is_quantised(llm) else model_digest(llm, like=wanted)
    if base not in (None, wanted):
        raise CheckpointError(
            f"{function}: the adapter of {folder} must be merged into the language model that it "
            f"was trained on ({wanted}), got {base}. Load that one."
        )
    config = peft.LoraConfig.from_pretrained(str(folder))
    tuned = peft.get_peft_model(llm, config)
    own = {k: tuple(v.shape) for k, v in peft.get_peft_model_state_dict(tuned).items()}
    differ = sorted(
        name
        for name in own.keys() | found.keys()
        if name not in found or own.get(name) != tuple(found[name].shape)
    )
    if differ:
        raise CheckpointError(
            f"{function}: the adapter of {folder} must fit the language model, got missing, extra "
            f"or reshaped {', '.join(differ[:5])}."
        )
    peft.set_peft_model_state_dict(tuned, found)
    if is_quantised(llm):
        tuned.requires_grad_(False)
        return llm
    return tuned.merge_and_unload().requires_grad_(False)


@contextmanager
def without_adapter(llm: Any, folder: Path | None) -> Iterator[None]:
    """Context manager in which a language model has its weights from before :func:`merge_adapter`.

    The adapter is subtracted, which is exact up to rounding; the merged weights come back as they
    were. Those of a quantised model are beside its weights and are switched off.

    Parameters
    ----------
    llm : PreTrainedModel
    folder : Path or None
        Folder of the adapter; None: the model has none.
    """
    if folder is None:
        yield
        return
    beside = [m for m in llm.modules() if hasattr(m, "lora_A") and hasattr(m, "enable_adapters")]
    merged: dict[str, torch.Tensor] = {}
    if not beside:
        config = read_json(folder / _FILES[0])
        weights = load_tensors(folder / _FILES[1], function="without_adapter")
        scale = config["lora_alpha"] / config["r"]
        for name, down in weights.items():
            if ".lora_A." not in name:
                continue
            place = name.removeprefix("base_model.model.").partition(_MARK)[0]
            layer = llm.get_submodule(place)
            update = scale * weights[name.replace(".lora_A.", ".lora_B.")] @ down
            if type(layer).__name__ == "Conv1D":  # GPT-2 keeps (in, out)
                update = update.T
            merged[place] = layer.weight.detach().cpu().clone()
            layer.weight.data.sub_(update.to(layer.weight))
    for layer in beside:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in beside:
            layer.enable_adapters(True)
        for place, weight in merged.items():
            llm.get_submodule(place).weight.data.copy_(weight)


def _peft(need: str) -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPartError(f"{need} pip install 'fastbrain-fmri[peft]'.") from error
    return peft
