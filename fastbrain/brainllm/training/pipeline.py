"""Training run of BrainLLM on one voxel store, from voxels to a saved model.

The run folder contains what is needed to reproduce and to evaluate the run::

    config.json     complete BrainLLMRunConfig
    manifest.json   store and its fingerprint, LLM, split, audit, trials that may be scored
    llm/ llm.json   the language model, or its location (:func:`fastbrain.lm.kept_llm.keep_llm`)
    stages/NAME/    log and checkpoints of each stage
    model/          the trained model with its components (safetensors, loaded strictly)
    preparation/    grid, filter and statistics of the store, to decode new scans
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output, write_json
from ..._progress import say
from ...data import (
    Audit,
    FitScope,
    StoreRows,
    VoxelStore,
    audit_store,
    fit_pca,
)
from ...data.readers.masks import read_labels
from ...data.splits.share import share_of_training
from ...data.store.preparation import save_preparation
from ...errors import ConfigError
from ...lm.kept_llm import find_llm, keep_llm, kept_llm
from ...lm.loading import load_llm
from ...lm.sources import find_model
from ...lm.word_lm import small_llm
from ...nn.config_io import from_dict, require, to_dict
from ...training.run import Row
from ...training.run_folder import absolute_paths, claim, place_of
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ..config import BrainLLMConfig
from ..model import BrainLLM
from ..saving import KIND, BrainLLMCard, SavedBrainLLM, save_brainllm
from .dataset import BrainTexts
from .presets import BrainLLMTraining, brainllm_preset
from .stages import STAGE_NAMES, train_brainllm
from .steering import SteeringFit


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
    decoder, dropout, additive_position, position, steering
        As in :class:`fastbrain.brainllm.BrainLLMConfig`.
    llm : str or None
        Name or folder of a causal language model. None trains a small one on the training texts.
    training_share : float
        Share of the training part to use, in whole stories or runs
        (:func:`fastbrain.data.splits.share.share_of_training`). Voxel statistics remain those of
        the store.
    seed : int
    training : BrainLLMTraining
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

    def __post_init__(self) -> None:
        require(self, "features", self.features >= 1, "be 1 or more")
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
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BrainLLMRunConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)


@checked
def audit_brainllm(store: VoxelStore, config: BrainLLMRunConfig) -> Audit:
    """Audit the split of a store together with the fits that a run will make."""
    fits = [FitScope(f"PCA of {config.features} components", store.split.train)]
    if config.llm is None:
        fits.append(FitScope("language model", store.split.train))
    return audit_store(store, fits=fits)


@checked
def train_brainllm_run(
    store: VoxelStore,
    out: str | Path,
    config: BrainLLMRunConfig | None = None,
    *,
    resume: bool = False,
    device: str = "cpu",
    allow_leak: str | None = None,
    log: Sequence[str] = (),
    on_epoch: Callable[[Row], None] | None = None,
) -> SavedBrainLLM:
    """Train BrainLLM on a store: PCA, language model and brain decoder (arXiv 2311.09889).

    Parameters
    ----------
    store : VoxelStore
    out : str or Path
        New run folder.
    config : BrainLLMRunConfig, optional
    resume : bool
        Continue from the newest checkpoints of an interrupted run.
    device : str
    allow_leak : str, optional
        Reason to accept a leak; it is recorded in the run's manifest.
    log : sequence of {"tensorboard", "wandb", "trackio"}
        Trackers that receive the numbers of every epoch, besides ``stages/NAME/log.jsonl``.
    on_epoch : callable, optional
        Receives the row of every finished epoch of all stages; what it raises stops training.

    Returns
    -------
    SavedBrainLLM
        Also saved in ``out/model``.

    Raises
    ------
    LeakError
        The audit finds a leak between parts of the split, and `allow_leak` is None.
    OutputExistsError
        `out` is not empty and `resume` is false.
    CheckpointError
        The configuration or store differs from that of the run to resume.
    InputError
        There are more components than the rank of the training volumes, or the language model
        cannot be found, contains custom code or has no safetensors.
    ConfigError
        There is no validation part, or a name in `log` is unknown.
    MissingPartError
        The package of a tracker is not installed.
    TrainingError
        A tracker cannot be opened, or training cannot continue.
    DiskError
        `out` is not writable.
    """
    trackers = check_trackers(log, function="train")
    config = absolute_paths(config or BrainLLMRunConfig(), files=("atlas",), models=("llm",))
    check_environment(out, function="train")
    split = share_of_training(store.split, store.trials, config.training_share, seed=config.seed)
    store = replace(store, split=split)
    audit = audit_brainllm(store, config).check(allow=allow_leak)
    say(f"audit: {audit.summary()}")
    if not split.val:
        raise ConfigError("train_brainllm_run: the split must have a validation part, got none.")
    region = None
    if config.atlas is not None:
        labels = read_labels(config.atlas, shape=store.grid.shape, affine=store.affine)
        region = torch.isin(torch.from_numpy(labels), torch.tensor(config.regions)).numpy()
    rows = StoreRows(store, split.train, region)
    pca = fit_pca(rows, config.features, fitted_on=split.train, standardise=config.standardise)
    if config.llm is not None and not resume:
        find_model(config.llm, function="train")
    out = new_output(out, resume=resume)
    claim(out, {"config": config.to_dict(), "store_fingerprint": store.fingerprint()})
    say(f"features: {config.features} components, {pca.explained.sum():.0%} of the variance")
    language = kept_llm(out) or keep_llm(config.llm or _small_llm(store, config), out)
    llm, tokenizer = load_llm(str(find_llm(language, out)), device=device)
    torch.manual_seed(config.seed)
    model = BrainLLM(
        config.model(store.window_spec.window_trs), llm=llm, text_tokenizer=tokenizer
    ).to(device)
    card = BrainLLMCard(
        llm=language.name,
        tr=store.tr,
        split={name: list(split.part(name)) for name in ("train", "val", "test")},
        store=store.fingerprint(),
        whiten=config.whiten,
        max_prompt_tokens=config.training.max_prompt_tokens,
        max_text_tokens=config.training.max_text_tokens,
        end=config.training.end,
        preprocessing={"units": store.units, "window": asdict(store.window_spec)},
        language=language,
    )
    saved = SavedBrainLLM(model, card, pca, region)

    def part(ids: tuple[str, ...]) -> BrainTexts:
        trials = [store.by_id[i] for i in ids]
        prompts = tuple(t.instruction for t in trials)
        return BrainTexts(ids, saved.windows(store, ids), tuple(t.text for t in trials), prompts)

    stages = out / "stages"
    logged = [stages / name for name in STAGE_NAMES]
    with run_log(out, logged, trackers, config=config.to_dict(), on_epoch=on_epoch) as each_epoch:
        done = train_brainllm(
            model, part(split.train), part(split.val), config.training, run_dir=stages,
            resume=resume and stages.exists(), on_epoch=each_epoch,
        )  # fmt: skip
    fits = [pca.scope, *(fit.scope for fit in done.values() if isinstance(fit, SteeringFit))]
    audit = audit.with_fits(fits).check(allow=allow_leak)
    save_brainllm(model, out / "model", card, pca=pca, region=region, replace=resume)
    save_preparation(store, out, replaced=resume)
    facts = {
        "kind": KIND,
        **place_of(store, out),
        "llm": language.name,
        "language_model": asdict(language),
        "split": split.to_json(),
        "audit": audit.to_json(),
        "scored_trials": list(split.test),
        "explained": float(pca.explained.sum()),
        "constant_voxels": pca.constant,
    }
    write_json(out / "manifest.json", facts)
    model.eval()
    return saved


def _small_llm(store: VoxelStore, config: BrainLLMRunConfig) -> Path:
    trials = [store.by_id[t] for t in store.split.train]
    corpus = sorted({f"{t.instruction} {t.text}".strip() for t in trials})
    say(f"language model: a small one, from {len(corpus)} sentences")
    return small_llm(corpus, seed=config.seed)
