"""Save and load BrainLLM: weights, principal components, and the samples they were fitted on.

Weights are meaningless without the principal components, the TR and the language model of training,
so a saved model contains or names all of these, with a digest of every file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as replace_card
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .._arguments import checked
from .._io import folder_atomic, sha256, write_atomic, write_json
from .._rules import none_or, record_of
from .._runfiles import read_record
from ..data import PCA, StoreRows, VoxelStore
from ..data.features.saved_pca import RULES, pca_arrays, pca_record, read_pca
from ..errors import CheckpointError
from ..lm.device_map import how_loaded
from ..lm.kept_llm import llm_place
from ..lm.loading import llm_fingerprint, load_llm, model_digest
from ..lm.lora import FOLDER as ADAPTER
from ..lm.lora import copy_adapter, merge_adapter
from ..nn.config_io import from_dict
from ..nn.saved_folder import load_tensors, read_whole
from ..nn.state_dict import load_strict
from .card import BrainLLMCard as BrainLLMCard
from .config import BrainLLMConfig
from .model import BrainLLM
from .model_card import KIND as KIND
from .model_card import card_text

LAYOUT = 1
FILES = ("model.safetensors", "features.safetensors", "config.json")
_KEYS = {"layout", "kind", "model", "llm_fingerprint", "llm_digest", "card", "features"}
_FEATURES = none_or(record_of(RULES))


@dataclass(frozen=True, eq=False)
class SavedBrainLLM:
    """A loaded BrainLLM with its components and metadata; returned by :func:`load_brainllm`.

    Parameters
    ----------
    model : BrainLLM
        In evaluation mode.
    card : BrainLLMCard
    pca : PCA or None
        Maps voxels to the model's features; it lists the samples it was fitted on.
    region : ndarray, (Z, Y, X) bool, or None
        Voxels that the components were fitted on; None for all voxels of the store.
    """

    model: BrainLLM
    card: BrainLLMCard
    pca: PCA | None
    region: npt.NDArray[np.bool_] | None = None

    def windows(self, store: VoxelStore, trial_ids: Sequence[str]) -> torch.Tensor:
        """Compute features (N, t, k) of trials of a store.

        Raises
        ------
        CheckpointError
            The model was saved without its components.
        """
        if self.pca is None:
            raise CheckpointError("SavedBrainLLM: the model must be saved with its components.")
        rows = StoreRows(store, trial_ids, self.region)
        return torch.from_numpy(rows.windows(self.pca.transform(rows, whiten=self.card.whiten)))


@checked
def save_brainllm(
    model: BrainLLM,
    folder: str | Path,
    card: BrainLLMCard,
    *,
    pca: PCA | None = None,
    region: npt.NDArray[np.bool_] | None = None,
    replace: bool = False,
) -> Path:
    """Write a model atomically, so that the folder is either complete or absent.

    Parameters
    ----------
    model, folder, card
        Model, target folder and metadata.
    pca : PCA, optional
        Without it, the caller must compute the features after loading.
    region : ndarray, (Z, Y, X) bool, optional
        Voxels that the components were fitted on. Default: all voxels of the store.
    replace : bool
        Whether an existing folder may be replaced.

    Raises
    ------
    OutputExistsError
        The folder exists and `replace` is false.
    CheckpointError
        A weight is not finite, the number of components differs from the model's features, or
        the components were fitted on samples outside the training part.
    """
    from safetensors.torch import save

    state = {
        k: v.detach().cpu().contiguous()
        for k, v in model.state_dict().items()
        if not k.startswith("llm.")
    }
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(f"save_brainllm: weights must be finite, got NaN in {broken[:5]}.")
    arrays: dict[str, torch.Tensor] = {}
    described = None
    if pca is not None:
        if len(pca.components) != model.config.features:
            raise CheckpointError(
                f"save_brainllm: pca must have the model's {model.config.features} components, got "
                f"{len(pca.components)}."
            )
        outside = set(pca.scope.fitted_on) - set(card.split.get("train", pca.scope.fitted_on))
        if outside:
            raise CheckpointError(
                f"save_brainllm: pca must be fitted on the training part alone, got {len(outside)} "
                f"other samples {sorted(outside)[:3]}."
            )
        found = pca_arrays(pca, region)
        arrays = {name: torch.from_numpy(array).contiguous() for name, array in found.items()}
        described = pca_record(pca)
    config = {
        "layout": LAYOUT,
        "kind": KIND,
        "model": model.config.to_dict(),
        "llm_fingerprint": llm_fingerprint(model.llm),
        "llm_digest": model.base_digest or model_digest(model.llm),
        "card": asdict(card),
        "features": described,
    }
    with folder_atomic(
        folder, replace=replace, function="save_brainllm", offered=True
    ) as temporary:
        write_atomic(temporary / "model.safetensors", save(state))
        write_atomic(temporary / "features.safetensors", save(arrays))
        adapter: dict[str, str] = {}
        if model.tuned is not None:
            adapter = model.tuned.save(temporary / ADAPTER)
        elif model.adapter_folder is not None:
            adapter = copy_adapter(model.adapter_folder, temporary / ADAPTER)
        config["card"] = asdict(replace_card(card, adapter=adapter))
        write_json(temporary / "config.json", config)
        write_json(temporary / "manifest.json", {n: sha256(temporary / n) for n in FILES})
        # README.md is for people and may be edited, so it is not in the manifest
        write_atomic(temporary / "README.md", card_text(config))
    return Path(folder)


@checked
def load_brainllm(
    folder: str | Path,
    *,
    llm: tuple[Any, Any] | str | None = None,
    store: VoxelStore | None = None,
    dtype: str | None = None,
    device: str = "cpu",
) -> SavedBrainLLM:
    """Load a model saved by :func:`save_brainllm`.

    Parameters
    ----------
    folder : str or Path
    llm : (model, tokenizer) or str, optional
        The loaded language model, or its name or folder; default: the one named by the card.
    store : VoxelStore, optional
        Store to decode: its TR and voxels are compared with those of training.
    dtype : str, optional
        Precision of the language model, as in :func:`load_llm`.
    device : str

    Raises
    ------
    CheckpointError
        A file is missing or damaged, a tensor is missing, extra or reshaped, or the language
        model, TR or voxels differ from those of training.
    ConfigError
        The configuration has an unknown key.
    """
    root = Path(folder)
    described = read_described(root)
    card = from_dict(BrainLLMCard, described["card"], where="card")
    if store is not None:
        _same_store(card, described["features"], store)
    if llm is None or isinstance(llm, str):
        place = llm or llm_place(card.language, card.llm, root.resolve().parent)
        llm = load_llm(place, dtype=dtype, device=device, **how_loaded(card))
    language, tokenizer = llm
    wanted = described["llm_fingerprint"], described["llm_digest"]
    found = llm_fingerprint(language), model_digest(language, like=wanted[1])
    if found != wanted:
        raise CheckpointError(
            f"load_brainllm: the language model must be the one of training ('{card.llm}', "
            f"{'-'.join(wanted)}), got {'-'.join(found)}. Another one reads the brain as noise."
        )
    if card.adapter:
        function = "load_brainllm"
        language = merge_adapter(language, root / ADAPTER, card.adapter, function=function)
    # a model from before layouts had BOS
    config = BrainLLMConfig.from_dict({"layout": "bos", **described["model"]})
    model = BrainLLM(config, llm=language, text_tokenizer=tokenizer)
    state = load_tensors(root / "model.safetensors", function="load_brainllm")
    load_strict(model, state, where=str(root))
    if card.adapter:
        model.adapter_folder, model.base_digest = root / ADAPTER, described["llm_digest"]
    pca = region = None
    if described["features"] is not None:
        tensors = load_tensors(root / "features.safetensors", function="load_brainllm")
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        pca, region = read_pca(
            described["features"], arrays, where=str(root), function="load_brainllm"
        )
    return SavedBrainLLM(model.to(device).eval(), card, pca, region)


def read_described(root: Path) -> dict[str, Any]:
    """Verify a saved model and return its ``config.json``; raises as :func:`load_brainllm`."""
    described = read_whole(root, FILES, function="load_brainllm")
    if not isinstance(described, dict) or set(described) != _KEYS or described["kind"] != KIND:
        raise CheckpointError(f"load_brainllm: {root} must hold a BrainLLM, got another model.")
    if described["layout"] != LAYOUT:
        raise CheckpointError(f"load_brainllm: {root} must have layout {LAYOUT}.")
    return read_record(root / "config.json", {"features": _FEATURES}, function="load_brainllm")


def _same_store(card: BrainLLMCard, features: Mapping[str, Any] | None, store: VoxelStore) -> None:
    if abs(store.tr - card.tr) > 1e-3:
        raise CheckpointError(
            f"load_brainllm: the store must have the clock of training, {card.tr} s, got "
            f"{store.tr} s. Resample the recordings."
        )
    if features is not None and card.store and card.store != store.fingerprint():
        raise CheckpointError(
            f"load_brainllm: the store must be the one of training ({card.store}), got "
            f"{store.fingerprint()}: components of other voxels are noise."
        )
