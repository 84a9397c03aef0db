"""Save and load trained models: safetensors only, strict, complete.

Weights cannot be used without the voxel statistics, patch centres, TR and LLM of training. A saved
model contains the statistics, centres and TR, digests of the LLM, and of its own files.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from dataclasses import replace as replace_card
from pathlib import Path
from typing import Any

import torch

from .._arguments import checked
from .._io import folder_atomic, sha256, write_atomic, write_json
from .._rules import count, flag, list_of, number, positive, table_of, text
from .._runfiles import read_record
from ..errors import CheckpointError, ConfigError
from ..grid import TokenGrid
from ..lm.device_map import how_loaded
from ..lm.kept_llm import llm_place
from ..lm.loading import llm_fingerprint, load_llm, local_folder, model_digest
from ..lm.lora import FOLDER as ADAPTER
from ..lm.lora import copy_adapter, merge_adapter
from ..nn.config_io import from_dict
from ..nn.frame_encoder import NoVideo
from ..nn.saved_folder import load_tensors, read_whole
from ..nn.state_dict import load_strict
from .card_record import ModelCard, card_of_grid
from .config import LLM4BrainConfig
from .grid_models import AnyModel, GridModels
from .model import LLM4Brain
from .model_card import card_text
from .saved_grids import (
    GRIDS,
    check_tr,
    choose_part,
    described_grids,
    grid_tensors,
    read_layouts,
)

LAYOUT = 1
_OF_LLM = re.compile(r"(parts\.[^.]+\.)?llm\.")
FILES = ("model.safetensors", "grid.safetensors", "config.json")


@checked
def save_pretrained(
    model: LLM4Brain | GridModels, folder: str | Path, card: ModelCard, *, replace: bool = False
) -> Path:
    """Save a model atomically: the folder is complete or does not exist.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    folder : str or Path
    card : ModelCard
    replace : bool
        Whether an existing folder may be replaced.

    Raises
    ------
    OutputExistsError
        The folder exists and `replace` is false.
    CheckpointError
        A weight is not finite.
    """
    from safetensors.torch import save

    state = {
        k: v.detach().cpu().contiguous()
        for k, v in model.state_dict().items()
        if not _OF_LLM.match(k)
    }
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(f"save_pretrained: weights must be finite, got NaN in {broken[:5]}.")
    first = model.first
    described = {
        "layout": LAYOUT,
        "model": first.config.to_dict(),
        **described_grids(model),
        "scale": first.tokenizer.scale,
        "external_video": first.external_video,
        "video_dim": first.bridge.out_dim,
        "llm_fingerprint": llm_fingerprint(first.llm),
        "llm_digest": first.base_digest or model_digest(first.llm),
        "card": asdict(card),
    }
    with folder_atomic(
        folder, replace=replace, function="save_pretrained", offered=True
    ) as temporary:
        write_atomic(temporary / "model.safetensors", save(state))
        write_atomic(temporary / "grid.safetensors", save(grid_tensors(model)))
        adapter: dict[str, str] = {}
        if first.tuned is not None:
            adapter = first.tuned.save(temporary / ADAPTER)
        elif first.adapter_folder is not None:
            adapter = copy_adapter(first.adapter_folder, temporary / ADAPTER)
        described["card"] = asdict(replace_card(card, adapter=adapter))
        write_json(temporary / "config.json", described)
        write_json(temporary / "manifest.json", {n: sha256(temporary / n) for n in FILES})
        # README.md is for people and may be edited, so it is not in the manifest
        write_atomic(temporary / "README.md", card_text(described))
    return Path(folder)


@checked
def from_pretrained(
    folder: str | Path,
    *,
    llm: tuple[Any, Any] | str | None = None,
    video: torch.nn.Module | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    grid: TokenGrid | None = None,
    tr: float | None = None,
    revision: str | None = None,
    part: str | None = None,
) -> LLM4Brain:
    """Load a model saved by :func:`save_pretrained`, in evaluation mode.

    Parameters
    ----------
    folder : str or Path
        Folder of the model. If it does not exist: a name on the hub, which is downloaded unless
        `HF_HUB_OFFLINE` is set.
    llm : (model, tokenizer) or str, optional
        The loaded LLM, or its name or folder; default: the LLM in the model card. The adapter of
        a run that tuned its LLM is merged into it, in place.
    video : Module, optional
        The external frame encoder of a model that was trained with one.
    dtype : str, optional
        Precision of the LLM, as in :func:`load_llm`.
    device : str
    grid : TokenGrid, optional
    tr : float, optional
        Grid and TR in seconds of the recordings to decode (``store.grid``, ``store.tr``). Values
        that differ from training raise an error.
    revision : str, optional
        Commit, tag or branch on the hub.
    part : str, optional
        Of a model of several grids, the name of the one to open. Not needed where `grid` says it.

    Returns
    -------
    LLM4Brain
        Its attribute `card` is the saved :class:`ModelCard`.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, a tensor is missing, extra or reshaped (all are named), the
        LLM is not that of training, or grid or TR differ from training.
    ConfigError
        The configuration has an unknown key.
    InputError
        The model is of several grids, and neither `part` nor `grid` says which.
    """
    root = local_folder(folder, revision)
    loaded = _load(root, llm, video, dtype, device, wanted=(grid, part), tr=tr)
    return loaded[1].part(loaded[0])


@checked
def load_grid_models(
    folder: str | Path,
    *,
    llm: tuple[Any, Any] | str | None = None,
    video: torch.nn.Module | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    revision: str | None = None,
) -> GridModels:
    """Load a model of several grids, in evaluation mode; see :func:`from_pretrained`.

    Raises
    ------
    CheckpointError
        The model is of one grid, or as in :func:`from_pretrained`.
    """
    model = _load(local_folder(folder, revision), llm, video, dtype, device)[1]
    if not isinstance(model, GridModels):
        raise CheckpointError(
            f"load_grid_models: {folder} must be of several grids, got a model of one. Open it "
            "with from_pretrained."
        )
    return model


def _load(
    root: Path,
    llm: tuple[Any, Any] | str | None,
    video: torch.nn.Module | None,
    dtype: str | None,
    place: str,
    *,
    wanted: tuple[TokenGrid | None, str | None] | None = None,
    tr: float | None = None,
) -> tuple[str, AnyModel]:
    """Load a model, and say which of its grids is wanted."""
    described = read_described(root)
    config = LLM4BrainConfig.from_dict(described["model"])
    card = from_dict(ModelCard, described["card"], where="card")
    sites = load_tensors(root / "grid.safetensors", function="from_pretrained")
    layouts = read_layouts(root, sites, described)
    name = "" if wanted is None else choose_part(layouts, *wanted, root=root)
    check_tr(card, tr)
    if llm is None or isinstance(llm, str):
        source = llm or llm_place(card.language, card.llm, root.resolve().parent)
        llm = load_llm(source, dtype=dtype, device=place, **how_loaded(card))
    language, text_tokenizer = llm
    # earlier versions recorded a part of the embeddings alone
    digest = described.get("llm_digest")
    found = [llm_fingerprint(language), digest and model_digest(language, like=digest)]
    if found != [described["llm_fingerprint"], digest]:
        raise CheckpointError(
            f"from_pretrained: the LLM must be the one of training ('{card.llm}', "
            f"{described['llm_fingerprint']}-{digest}), got {found[0]}-{found[1]}. Another version "
            "reads the brain's prefix as noise: load the right one."
        )
    base = digest
    if card.adapter:
        base = digest or model_digest(language)
        function = "from_pretrained"
        language = merge_adapter(language, root / ADAPTER, card.adapter, function=function)
    if described["external_video"] and video is None:
        video = NoVideo(described["video_dim"])
    shared: dict[str, Any] = {"llm": language, "text_tokenizer": text_tokenizer, "video": video}
    shared["scale"] = described["scale"]
    model: AnyModel
    if "grids" in described:
        model = GridModels(config, layouts, **shared)
        parts = {grid: model.part(grid) for grid in model.names}
    else:
        own = layouts[""]
        model = LLM4Brain(config, grid=own.grid, centers_mm=sites["centers_mm"], **shared)
        parts = {"": model}
    state = load_tensors(root / "model.safetensors", function="from_pretrained")
    load_strict(model, state, where=str(root))
    for grid, part in parts.items():
        part.card = card_of_grid(card, grid)
        if card.adapter:
            part.adapter_folder, part.base_digest = root / ADAPTER, base
    return name, model.to(place).eval()


def read_described(root: Path) -> dict[str, Any]:
    """Verify the files of a saved model, then return its checked ``config.json``.

    Raises
    ------
    CheckpointError, ConfigError
        As :func:`from_pretrained`.
    """
    described = read_whole(root, FILES, function="from_pretrained")
    if not isinstance(described, dict) or described.get("layout") != LAYOUT:
        raise CheckpointError(f"from_pretrained: {root} must have layout {LAYOUT}.")
    optional = {"grids": GRIDS, "llm_digest": text}
    if described.keys() - optional.keys() != _DESCRIBED.keys():
        raise ConfigError(
            f"from_pretrained: config.json of {root} must have keys {sorted(_DESCRIBED)}, got "
            f"{sorted(described)}."
        )
    return read_record(
        root / "config.json", _DESCRIBED, optional=optional, function="from_pretrained"
    )


_DESCRIBED = {
    "layout": count,
    "model": table_of(lambda _: True),
    "kernel": list_of(positive, least=3),
    "stride": list_of(positive, least=3),
    "grid_fingerprint": text,
    "scale": number,
    "external_video": flag,
    "video_dim": count,
    "llm_fingerprint": text,
    "card": table_of(lambda _: True),
}
