"""Training stage of the VQ autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ..._arguments import checked
from ..._progress import say
from ...data import Autoregression
from ...errors import ConfigError, InputError
from ...nn import shards
from ...training.loop import Objective, fit
from ...training.run import History, Row
from ...training.validation import mean_validation
from ..alignment import ContrastiveAlignment, DomainClassifier, reversal_strength
from ..autoencoder import VQAutoencoder
from .autoencoder_config import VQStageConfig
from .code_scores import coding_scores
from .first_codebook import start_codebook as start_codebook
from .series_loader import SeriesBatch, SeriesLoader

Runs = Mapping[str, npt.NDArray[Any]]


@checked
@dataclass(frozen=True)
class TextSide:
    """Frozen text embeddings to which brain features are aligned.

    Parameters
    ----------
    embeddings : Tensor, (V, d)
        Input embeddings of a language model.
    token_ids : Tensor, (N,) int64
        A text in tokens of that model; tokens are drawn with their frequency in it.
    descriptions : mapping of str to Tensor, (d,), optional
        Embedding of each run for the contrastive loss, for instance the mean of its description.
    """

    embeddings: Tensor
    token_ids: Tensor
    descriptions: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        ids = self.token_ids
        if self.embeddings.ndim != 2 or ids.ndim != 1 or not len(ids):
            raise InputError(
                "TextSide: embeddings must be (V, d) and token_ids (N >= 1,), got "
                f"{tuple(self.embeddings.shape)} and {tuple(ids.shape)}."
            )
        if int(ids.min()) < 0 or int(ids.max()) >= len(self.embeddings):
            raise InputError(
                f"TextSide: token_ids must be in [0, {len(self.embeddings)}), got {int(ids.min())} "
                f"to {int(ids.max())}. Use the tokenizer of the embeddings."
            )


class CodedSeries(Objective):
    """Objective of the autoencoder: reconstruction, commitment and alignment losses.

    Parameters
    ----------
    model : VQAutoencoder
    config : VQStageConfig
    steps : int
        Optimiser steps of the whole training; the strength of the reversal grows with progress.
    text : TextSide, optional
        Required by the domain and the contrastive loss. With a domain loss, the map of the features
        to its width is added to the model (:meth:`VQAutoencoder.map_to_text`) and trained.

    Raises
    ------
    ConfigError
        A loss with a positive weight lacks its text, descriptions or decoder.
    """

    steps_done: Tensor
    vocabulary: Tensor
    token_ids: Tensor

    def __init__(
        self,
        model: VQAutoencoder,
        config: VQStageConfig,
        *,
        steps: int,
        text: TextSide | None = None,
    ) -> None:
        super().__init__()
        self.model, self.weights, self.steps = model, config.weights, steps
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.int64))
        weights = config.weights
        needed = {"domain": weights.domain, "contrastive": weights.contrastive}
        asked = [name for name, weight in needed.items() if weight]
        if asked and (text is None or (weights.contrastive and text.descriptions is None)):
            raise ConfigError(
                f"CodedSeries: {' and '.join(asked)} loss must have a text to align to, got none. "
                "Pass TextSide (with descriptions for 'contrastive'), or set the weight to 0."
            )
        if weights.spectrum and model.spectrum is None:
            raise ConfigError("CodedSeries: a spectrum loss must have a decoder: spectrum=True.")
        self.domain: DomainClassifier | None = None
        self.contrastive: ContrastiveAlignment | None = None
        self.descriptions: Mapping[str, Tensor] = {}
        if text is not None:
            width = text.embeddings.shape[1]
            self.register_buffer("vocabulary", text.embeddings.detach(), persistent=False)
            self.register_buffer("token_ids", text.token_ids, persistent=False)
            self.descriptions = text.descriptions or {}
            if weights.domain:
                # the map is part of the model, and saved with it
                model.map_to_text(width)
                self.domain = DomainClassifier(width, width)
            if weights.contrastive:
                self.contrastive = ContrastiveAlignment(model.config.dim, width)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: SeriesBatch) -> dict[str, Tensor]:
        """Compute the loss and its terms for a batch of windows."""
        device = self.model.center.device
        mask = None if batch.mask is None else batch.mask.to(device)
        patches = self.model.patches(batch.series.to(device), mask)
        features = self.model.encode(patches, mask)
        if not shards.agreed(features.isfinite().all(), device):
            return {"loss": features.sum()}  # the loop's guard names the windows, skips the step
        found = self.model.restore(patches, features, mask)
        tokens_here = found.quantised.indices.numel() if mask is None else mask.sum()
        weights = self.weights
        losses = {k: shards.share(v, tokens_here) for k, v in found.losses().items()}
        terms = {f"{name}_loss": value for name, value in losses.items()}
        loss = self.model.config.quantiser.commitment * losses["commitment"]
        loss = loss + weights.signal * losses["signal"]
        if weights.spectrum:
            loss = loss + weights.spectrum * losses["spectrum"]
        if self.domain is not None and self.model.to_text is not None:
            tokens = features.flatten(0, 2) if mask is None else features[mask]
            drawn = torch.randint(len(self.token_ids), (weights.text_tokens,), device=device)
            strength = reversal_strength(min(1.0, float(self.steps_done) / self.steps))
            words = self.vocabulary[self.token_ids[drawn]]
            domain = self.domain(self.model.to_text(tokens), words, strength=strength)
            terms |= {"domain_loss": domain.loss, "domain_accuracy": domain.accuracy}
            loss = loss + weights.domain * domain.loss
        # a validation batch may contain a single window, without another one to contrast it with
        shard = shards.current()
        windows = len(features) if shard is None else shard.total
        if self.contrastive is not None and windows > 1:
            described = torch.stack([self.descriptions[run].to(device) for run in batch.runs])
            pairs = (shards.gather(x) for x in (pooled(features, mask), described))
            terms["contrastive_loss"] = shards.joint(self.contrastive(*pairs))
            loss = loss + weights.contrastive * terms["contrastive_loss"]
        if self.training:
            own = shard is None or bool(shard.rows)
            indices = found.quantised.indices if own else -torch.ones_like(found.quantised.indices)
            self._seen.append((found.quantised.vectors.detach(), indices))
        return {"loss": loss, **terms}

    def before_step(self) -> None:
        """Discard the vectors of a skipped step."""
        self._seen = []

    def after_step(self) -> None:
        """Update the codebook with all batches of the step at once."""
        vectors = torch.cat([vectors.flatten(0, -2) for vectors, _ in self._seen])
        indices = torch.cat([indices.flatten() for _, indices in self._seen])
        self.model.quantiser.update(vectors, indices, mask=indices >= 0)
        self.steps_done += 1


def pooled(features: Tensor, mask: Tensor | None) -> Tensor:
    """Mean feature (B, dim) of each sample over its unmasked tokens (B, R, P)."""
    if mask is None:
        return features.mean(dim=(1, 2))
    weight = mask[..., None].to(features)
    return (features * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))


@checked
def train_vq(
    model: VQAutoencoder,
    runs: Runs,
    config: VQStageConfig,
    *,
    run_dir: str | Path,
    val_runs: Runs | None = None,
    text: TextSide | None = None,
    resume: bool = False,
    on_epoch: Callable[[Row], None] | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Train an autoencoder on region series.

    Parameters
    ----------
    model : VQAutoencoder
        A model with a scale that was fitted on `runs`.
    runs : mapping of str to ndarray, (R, T)
        Training runs, in the units of the scale.
    config : VQStageConfig
        See :func:`vq_preset`.
    run_dir : str or Path
    val_runs : mapping of str to ndarray, optional
        Validation runs. The weights with the smallest signal loss on them are kept; R² against
        mean and AR(1), code usage and perplexity are logged after each epoch.
    text : TextSide, optional
    resume : bool
    on_epoch, record
        See :func:`fastbrain.training.fit`.

    Returns
    -------
    History

    Raises
    ------
    InputError
        There are fewer tokens than codes, or the runs do not fit the model.
    ConfigError
        See :class:`CodedSeries`.
    """

    def windows(of: Runs, shuffle: bool) -> SeriesLoader:
        return SeriesLoader(
            of,
            frames=config.frames,
            patch=model.config.patch,
            batch_size=config.batch_size,
            shuffle=shuffle,
            seed=config.seed,
        )

    loader = windows(runs, shuffle=True)
    steps = config.epochs * -(-len(loader) // config.accumulate)
    # the new layers of the objective are initialised before the loop sets its seed
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        objective = CodedSeries(model, config, steps=steps, text=text)
    start_codebook(model, windows(runs, shuffle=True), seed=config.seed, pooled=False)
    held = None if val_runs is None else windows(val_runs, shuffle=False)
    history = fit(
        objective,
        loader,
        config,
        run_dir=run_dir,
        resume=resume,
        validate=_validation(objective, held, Autoregression.fit(runs)),
        best="signal_loss",
        on_epoch=on_epoch,
        record=record,
    )
    model.eval()
    return history


def _validation(
    objective: CodedSeries, held: SeriesLoader | None, baseline: Autoregression
) -> Callable[[], dict[str, float]] | None:
    """Build the validation: means of all terms, R², usage and perplexity; prints usage findings."""
    if held is None:
        return None
    terms = mean_validation(objective, held)

    def values() -> dict[str, float]:
        scores = coding_scores(objective.model, held, baseline)
        if scores.usage.finding:
            say(f"vq: {scores.usage.finding}")
        found = {"r2_mean": scores.r2_mean, "r2_ar1": scores.r2_ar1}
        found |= {"usage": scores.usage.share, "perplexity": scores.usage.perplexity}
        return (terms() if terms is not None else {}) | found

    return values
