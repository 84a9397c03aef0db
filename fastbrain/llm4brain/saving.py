"""Save and load trained models: safetensors only, strict, complete.

Weights cannot be used without the voxel statistics, patch centres, TR and LLM of training. A saved
model contains the statistics, centres and TR, the fingerprint of the LLM, and file digests.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from dataclasses import replace as replace_card
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._arguments import checked
from .._io import folder_atomic, sha256, write_atomic, write_json
from .._rules import count, flag, list_of, number, positive, table_of, text
from .._runfiles import read_record
from ..errors import CheckpointError, ConfigError
from ..grid import TokenGrid
from ..layout import TokenLayout
from ..lm.device_map import how_loaded
from ..lm.kept_llm import LLMRecord, llm_place
from ..lm.loading import llm_fingerprint, load_llm, local_folder
from ..lm.lora import FOLDER as ADAPTER
from ..lm.lora import copy_adapter, merge_adapter
from ..nn.config_io import from_dict
from ..nn.frame_encoder import NoVideo
from ..nn.saved_folder import load_tensors, read_whole
from ..nn.state_dict import load_strict
from .config import LLM4BrainConfig
from .model import LLM4Brain
from .model_card import card_text

LAYOUT = 1
_SAME_TR_S = 1e-3
FILES = ("model.safetensors", "grid.safetensors", "config.json")


@dataclass(frozen=True)
class ModelCard:
    """Record of the data, LLM and training of a model; saved with the weights.

    Parameters
    ----------
    llm : str
        Name or folder of the frozen LLM, which is not part of the saved model.
    tr : float
        Repetition time of the training data, seconds.
    fingerprint : str
        Fingerprint of the voxel store of training.
    affine : tuple of tuple of float, optional
        Transform from voxel indices to world mm, (4, 4).
    prompt : str
        Prompt for decoding.
    preprocessing : dict
        JSON values from the manifest of the store: units, window and the like.
    split, training : dict
        JSON values: of the split; adaptation, stages, audit, and digests of published weights.
    language : LLMRecord, optional
        Digests of the LLM; a copy may be in the parent folder of the model.
    adapter : dict of str to str
        Digests of the PEFT adapter of the LLM in the folder ``adapter/``; empty without one.
    llm_bits, llm_device_map : optional
        How the LLM was loaded for training, as in :func:`load_llm`.
    """

    llm: str
    tr: float
    fingerprint: str = ""
    affine: tuple[tuple[float, ...], ...] | None = None
    prompt: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    language: LLMRecord | None = None
    adapter: dict[str, str] = field(default_factory=dict)
    llm_bits: int | None = None
    llm_device_map: str | dict[str, Any] | None = None


@checked
def save_pretrained(
    model: LLM4Brain, folder: str | Path, card: ModelCard, *, replace: bool = False
) -> Path:
    """Save a model atomically: the folder is complete or does not exist.

    Parameters
    ----------
    model : LLM4Brain
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
        if not k.startswith("llm.")
    }
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(f"save_pretrained: weights must be finite, got NaN in {broken[:5]}.")
    grid = {
        "mask": torch.from_numpy(model.grid.mask.astype(np.uint8)),
        "kept": torch.tensor(model.grid.kept),
        "centers_mm": model.centers_mm.cpu().contiguous(),
    }
    if isinstance(own := model.grid, TokenLayout):
        grid |= {"offsets": torch.tensor(own.offsets), "about": torch.tensor(own.about())}
    described = {
        "layout": LAYOUT,
        "model": model.config.to_dict(),
        "kernel": list(model.grid.kernel),
        "stride": list(model.grid.stride),
        "grid_fingerprint": model.grid.fingerprint(),
        "scale": model.tokenizer.scale,
        "external_video": model.external_video,
        "video_dim": model.bridge.out_dim,
        "llm_fingerprint": llm_fingerprint(model.llm),
        "card": asdict(card),
    }
    with folder_atomic(folder, replace=replace) as temporary:
        write_atomic(temporary / "model.safetensors", save(state))
        write_atomic(temporary / "grid.safetensors", save(grid))
        adapter: dict[str, str] = {}
        if model.tuned is not None:
            adapter = model.tuned.save(temporary / ADAPTER)
        elif model.adapter_folder is not None:
            adapter = copy_adapter(model.adapter_folder, temporary / ADAPTER)
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
    """
    root = local_folder(folder, revision)
    described = read_described(root)
    config = LLM4BrainConfig.from_dict(described["model"])
    card = from_dict(ModelCard, described["card"], where="card")
    sites = load_tensors(root / "grid.safetensors", function="from_pretrained")
    own = _grid_of(root, sites, described)
    if own.fingerprint() != described["grid_fingerprint"]:
        raise CheckpointError(f"from_pretrained: the grid of {root} must match its fingerprint.")
    _check_input(own, card, grid, tr)
    if llm is None or isinstance(llm, str):
        place = llm or llm_place(card.language, card.llm, root.resolve().parent)
        llm = load_llm(place, dtype=dtype, device=device, **how_loaded(card))
    language, text_tokenizer = llm
    found = llm_fingerprint(language)
    if found != described["llm_fingerprint"]:
        raise CheckpointError(
            f"from_pretrained: the LLM must be the one of training ('{card.llm}', "
            f"{described['llm_fingerprint']}), got {found}. Another version reads the brain's "
            "prefix as noise: load the right one."
        )
    if card.adapter:
        function = "from_pretrained"
        language = merge_adapter(language, root / ADAPTER, card.adapter, function=function)
    if described["external_video"] and video is None:
        video = NoVideo(described["video_dim"])
    model = LLM4Brain(
        config,
        grid=own,
        centers_mm=sites["centers_mm"],
        llm=language,
        text_tokenizer=text_tokenizer,
        scale=described["scale"],
        video=video,
    )
    state = load_tensors(root / "model.safetensors", function="from_pretrained")
    load_strict(model, state, where=str(root))
    model.card = card
    model.adapter_folder = root / ADAPTER if card.adapter else None
    return model.to(device).eval()


def _grid_of(root: Path, sites: dict[str, torch.Tensor], described: dict[str, Any]) -> TokenGrid:
    names = {"mask", "kept", "centers_mm"}
    if sites.keys() == {*names, "offsets", "about"}:
        offsets, centers, about = (sites[n].numpy() for n in ("offsets", "centers_mm", "about"))
        return TokenLayout.from_arrays(offsets, centers, about)
    if sites.keys() != names:
        raise CheckpointError(f"from_pretrained: {root} must hold its grid, got {sorted(sites)}.")
    return TokenGrid(
        sites["mask"].numpy().astype(bool),
        tuple(described["kernel"]),
        tuple(described["stride"]),
        sites["kept"].numpy(),
    )


def _check_input(own: TokenGrid, card: ModelCard, grid: TokenGrid | None, tr: float | None) -> None:
    if grid is not None and grid.fingerprint() != own.fingerprint():
        ours, theirs = (
            f"{g.n_tokens} patches of {g.patch_words} in {g.shape} ({g.fingerprint()})"
            for g in (own, grid)
        )
        raise CheckpointError(
            f"from_pretrained: grid must be the one of training, {ours}, got {theirs}. Prepare "
            "recordings in its space, with its mask."
        )
    if tr is not None and abs(tr - card.tr) > _SAME_TR_S:
        raise CheckpointError(
            f"from_pretrained: tr must be the {card.tr:g} s of training, got {tr:g} s. Resample "
            "recordings in time."
        )


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
    if described.keys() != _DESCRIBED.keys():
        raise ConfigError(
            f"from_pretrained: config.json of {root} must have keys {sorted(_DESCRIBED)}, got "
            f"{sorted(described)}."
        )
    return read_record(root / "config.json", _DESCRIBED, function="from_pretrained")


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
