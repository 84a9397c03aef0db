"""Save and load a trained autoencoder: weights, codebook, scale and training runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._arguments import checked
from .._io import folder_atomic, sha256, write_atomic, write_json
from .._rules import flag, list_of, number, table_of, text
from .._runfiles import read_record
from ..errors import CheckpointError
from ..nn.saved_folder import load_tensors, read_whole
from ..nn.state_dict import load_strict
from .autoencoder import VQAutoencoder
from .config import VQAutoencoderConfig
from .model_card import coder_card_text

LAYOUT = 1
_DESCRIBED = {
    "model": table_of(lambda _: True),
    "placed": flag,
    "regions": list_of(text),
    "tr": number,
    "fitted_on": list_of(text),
}
FILES = ("model.safetensors", "config.json")


@dataclass(frozen=True)
class CoderCard:
    """Metadata needed to use an autoencoder; saved with the weights.

    Parameters
    ----------
    regions : tuple of str
        Region names, in the order of the rows of a series.
    tr : float
        Seconds between frames of the training runs; other recordings must be resampled to it.
    fitted_on : tuple of str
        Runs on which scale, codebook and weights were fitted.
    """

    regions: tuple[str, ...]
    tr: float
    fitted_on: tuple[str, ...]


@checked
def save_vq(
    model: VQAutoencoder, folder: str | Path, card: CoderCard, *, replace: bool = False
) -> Path:
    """Write a model atomically, so that the folder is either complete or absent.

    Raises
    ------
    OutputExistsError
        The folder exists and `replace` is false.
    CheckpointError
        A weight is not finite, or the number of regions in the card differs from the model's.
    """
    from safetensors.torch import save

    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(f"save_vq: weights must be finite, got NaN in {broken[:5]}.")
    if len(card.regions) != model.config.regions:
        raise CheckpointError(
            f"save_vq: the card must name {model.config.regions} regions, got {len(card.regions)}."
        )
    described = {
        "layout": LAYOUT,
        "model": model.config.to_dict(),
        "placed": bool(len(model.places)),
        "regions": list(card.regions),
        "tr": card.tr,
        "fitted_on": list(card.fitted_on),
    }
    with folder_atomic(folder, replace=replace, function="save_vq", offered=True) as temporary:
        write_atomic(temporary / "model.safetensors", save(state))
        write_json(temporary / "config.json", described)
        write_json(temporary / "manifest.json", {n: sha256(temporary / n) for n in FILES})
        # README.md is for people and may be edited, so it is not in the manifest
        write_atomic(temporary / "README.md", coder_card_text(described))
    return Path(folder)


@checked
def load_vq(
    folder: str | Path, *, regions: Sequence[str] | None = None
) -> tuple[VQAutoencoder, CoderCard]:
    """Load a model saved by :func:`save_vq`, in evaluation mode.

    Parameters
    ----------
    folder : str or Path
    regions : sequence of str, optional
        Names of the rows of the series to encode, compared with those of training.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, a tensor does not fit, or the regions differ.
    ConfigError
        The configuration has an unknown key.
    """
    root = Path(folder)
    described = read_whole(root, FILES, function="load_vq")
    if not isinstance(described, dict) or described.get("layout") != LAYOUT:
        raise CheckpointError(f"load_vq: {root} must have layout {LAYOUT}.")
    described = read_record(root / "config.json", _DESCRIBED, function="load_vq")
    card = CoderCard(tuple(described["regions"]), described["tr"], tuple(described["fitted_on"]))
    if regions is not None and tuple(regions) != card.regions:
        raise CheckpointError(
            f"load_vq: regions must be those of training in their order, got {len(regions)} that "
            f"differ from its {len(card.regions)}."
        )
    state = load_tensors(root / "model.safetensors", function="load_vq")
    absent = {"center", "spread", *(["places"] if described["placed"] else [])} - state.keys()
    if absent:
        raise CheckpointError(f"load_vq: {root} must hold {sorted(absent)}, got none.")
    model = VQAutoencoder(
        VQAutoencoderConfig.from_dict(described["model"]),
        center=state["center"],
        spread=state["spread"],
        centers_mm=state["places"] if described["placed"] else None,
    )
    load_strict(model, state, where=str(root))
    return model.eval(), card
