"""Configuration of a BrainLLM run, and what is checked on a store before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data import Audit, FitScope, StoreCollection, StoreRows, VoxelStore, audit_store
from ...data.readers.masks import read_labels
from ...data.readers.prompts import has_prompts
from ...data.splits.share import share_of_training
from ...data.store.geometry import need_volumes
from ...errors import ConfigError
from ...lm.device_map import require_device_map
from ...lm.loading import embedding_width
from ...lm.quantised import BITS
from ...lm.sources import find_model
from ...lm.word_lm import SMALL_DIM
from ...nn.config_io import from_dict, require, to_dict
from ..config import BrainLLMConfig
from ..decoder import count_weights
from .presets import BrainLLMTraining, brainllm_preset


@checked(error=ConfigError)
@dataclass(frozen=True)
class BrainLLMRunConfig:
    """Configuration of :func:`train_brainllm_run`; see :func:`brainllm_preset` for `training`.

    Parameters
    ----------
    features : int
        Principal components k; at most the number of training volumes less one.
    standardise : {"centre", "zscore"}
        Standardisation of the voxels before the PCA.
    whiten : bool
        Whether components are scaled to unit variance.
    atlas : str or None
        Label image on the store's grid; with `regions` it selects the voxels to use.
    regions : tuple of int
        Labels of the atlas to use.
    decoder, dropout, additive_position, position, steering, depth, width
        As in :class:`fastbrain.brainllm.BrainLLMConfig`.
    prompt_length : int or None
        Number of words of each trial's prompt that precede its text, the last ones; 0 for none,
        None for all. The paper counts volumes; the words of these are in the prompts of a store.
    llm : str or None
        Name or folder of a causal language model. None trains a small one on the training texts.
    training_share : float
        Share of the training part to use, in whole stories or runs
        (:func:`fastbrain.data.splits.share.share_of_training`). Voxel statistics remain those of
        the store.
    seed : int
    training : BrainLLMTraining
    llm_rank : int
        Rank of LoRA on all linear layers of the language model, trained with prompt tuning; 0: the
        language model is frozen.
    llm_bits : {8, 4} or None
        Precision of the weights of the frozen language model, also when the run is evaluated;
        None: as it is loaded.
    llm_device_map : str, dict of str to int or str, or None
        Spread the frozen language model over devices, memory and disk, also when the run is
        evaluated; see :func:`fastbrain.load_llm`. For one process, without `llm_rank`.
    layout : {"document", "chat", "bos", "none"}
        As in :class:`fastbrain.brainllm.BrainLLMConfig`.
    """

    features: int = 100
    standardise: str = "centre"
    whiten: bool = True
    atlas: str | None = None
    regions: tuple[int, ...] = ()
    decoder: str = "mlp"
    dropout: float = 0.5
    additive_position: bool = False
    position: str = "before-prompt"
    steering: bool = False
    llm: str | None = None
    training_share: float = 1.0
    seed: int = 0
    training: BrainLLMTraining = field(default_factory=brainllm_preset)
    depth: int = 2
    width: int | None = None
    prompt_length: int | None = None
    llm_rank: int = 0
    llm_bits: int | None = None
    llm_device_map: str | dict[str, Any] | None = None
    layout: str = "document"

    def __post_init__(self) -> None:
        require(self, "features", self.features >= 1, "be 1 or more")
        self.model(1)
        require(self, "llm_rank", self.llm_rank >= 0, "be 0 or more")
        require(self, "llm_bits", self.llm_bits in (None, *BITS), "be 8, 4 or None")
        require_device_map(self)
        length = self.prompt_length is None or self.prompt_length >= 0
        require(self, "prompt_length", length, "be 0 or more words")
        both = (self.atlas is None) == (not self.regions)
        share = 0 < self.training_share <= 1
        require(self, "training_share", share, "be above 0 and up to 1")
        require(self, "regions", both, "be given with an atlas, and an atlas with regions")

    def model(self, frames: int) -> BrainLLMConfig:
        """Build the model configuration for windows of `frames` volumes."""
        return BrainLLMConfig(
            self.features,
            frames,
            self.decoder,
            self.dropout,
            self.additive_position,
            self.position,
            self.steering,
            self.depth,
            self.width,
            self.layout,
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BrainLLMRunConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)


def refuse_several_grids(store: VoxelStore | StoreCollection) -> None:
    """Raise :class:`ConfigError` for a collection of stores.

    Component k of one person's volumes is another pattern than component k of another person's, so
    that one decoder cannot read both.
    """
    if isinstance(store, StoreCollection):
        raise ConfigError(
            "train: BrainLLM must have one grid, got a collection of "
            f"{len(store.stores)}: principal components of people on different grids do not "
            "correspond. Prepare the images on a common grid (fastbrain prepare --resample first), "
            f"train on the store of one person ({next(iter(store.stores.values())).path}), or "
            "train LLM4Brain, which has weights for each grid."
        )


def share_of_store(store: VoxelStore, config: BrainLLMRunConfig) -> VoxelStore:
    """Return a store with the share of its training part that a configuration asks for."""
    share, seed = config.training_share, config.seed
    split = share_of_training(store.split, store.trials, share, seed=seed)
    return replace(store, split=split)


@checked
def audit_brainllm(store: VoxelStore, config: BrainLLMRunConfig) -> Audit:
    """Audit the split of a store together with the fits that a run will make."""
    fits = [FitScope(f"PCA of {config.features} components", store.split.train)]
    if config.llm is None:
        fits.append(FitScope("language model", store.split.train))
    return audit_store(store, fits=fits, prompt_length=config.prompt_length)


@dataclass(frozen=True, eq=False)
class BrainLLMPlan:
    """What a run reads from its store.

    Parameters
    ----------
    rows : StoreRows
        Volumes of the training windows.
    region : ndarray, (Z, Y, X) bool, or None
        Voxels of the configured regions.
    before : {"prompt", "instruction"}
        Which text of a trial precedes its text: the instruction where the store has no prompts.
    """

    rows: StoreRows
    region: npt.NDArray[np.bool_] | None
    before: str

    def sentence(self, prompt_length: int | None) -> str:
        """Describe the text before the text, for the run's output."""
        if self.before == "instruction":
            return "instructions of the trials, if any: the store has no prompts"
        if prompt_length == 0:
            return "nothing"
        last = "" if prompt_length is None else f"the last {prompt_length} words of "
        return f"{last}the prompts of the trials"


@checked
def plan_brainllm(store: VoxelStore, config: BrainLLMRunConfig) -> BrainLLMPlan:
    """Check that a store has what a configuration asks for; reads no voxels.

    Raises
    ------
    ConfigError
        There is no validation part, there are fewer training volumes or voxels than components, or
        a prompt length or prompt target is given for a store without prompts.
    """
    if not store.split.val:
        raise ConfigError("train_brainllm_run: the split must have a validation part, got none.")
    before = "prompt" if has_prompts(store.trials) else "instruction"
    if config.prompt_length is not None and before == "instruction":
        raise ConfigError(
            "train_brainllm_run: prompt_length must be left out for a store without prompts, got "
            f"{config.prompt_length}. Prompts come from the column 'prompt' of the events."
        )
    region = None
    if config.atlas is not None:
        need_volumes(store, function="train_brainllm_run", remedy="Leave --atlas out.")
        labels = read_labels(config.atlas, shape=store.grid.shape, affine=store.affine)
        region = np.isin(labels, config.regions)
    rows = StoreRows(store, store.split.train, region)
    volumes, voxels = rows.shape
    most = min(volumes - 1, voxels)  # centring takes one
    if config.features > most:
        raise ConfigError(
            f"train_brainllm_run: features must be at most {most} for {volumes:,} training volumes "
            f"of {voxels:,} voxels, got {config.features}. Add --features {most} (or fewer) to the "
            "command."
        )
    return BrainLLMPlan(rows, region, before)


def described(store: VoxelStore, config: BrainLLMRunConfig) -> str:
    """Describe the shapes and the number of trained weights of a run.

    Raises
    ------
    InputError
        The language model cannot be found, contains custom code or has no safetensors.
    """
    frames = store.window_spec.window_trs
    sizes = config.model(frames)
    if config.llm is None:
        out, name = SMALL_DIM, "a small language model"
    else:
        out, name = embedding_width(find_model(config.llm, function="train")), config.llm
    network = config.decoder
    if config.decoder == "mlp":
        network += f" of {config.depth} x {config.width or config.features:,} hidden units"
    return (
        f"({frames}, {config.features:,}) components of a window -> {network} -> ({frames}, "
        f"{out:,}) of {name}; {count_weights(sizes, out):,} trained weights"
    )
