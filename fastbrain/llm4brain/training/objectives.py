"""Training objectives of the stages, as modules for the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import ops
from ..._shards import Part, Shard
from ...lm.tokenization import encode_answers, encode_prompts
from ...nn import shards
from ...nn.layers import adapters_off
from ...ops.lengths import unit
from ...training.guards import places
from ...training.loop import Objective
from ...training.mixing import forever
from ...training.run import Loader
from ..encoder import MaskedAutoencoder
from ..grid_models import AnyModel, reader
from ..model import LLM4Brain
from ..standalone_encoder import BrainEncoder
from .latent_targets import VideoLatents
from .losses import alignment_loss, clip_loss
from .stage_config import LLM4BrainStage, entropy_threshold

Terms = dict[str, Tensor]


class MaskedVoxels(Objective):
    """Objective of SC-MBM pretraining: reconstruct masked voxels."""

    def __init__(self, model: BrainEncoder | LLM4Brain, config: LLM4BrainStage) -> None:
        super().__init__()
        self.autoencoder = MaskedAutoencoder(model.tokenizer, model.encoder, model.centers_mm)
        self.noise_std = config.noise_std

    def forward(self, batch: Any) -> Terms:
        """Compute the reconstruction error of a batch of windows."""
        voxels = batch.voxels.to(self.autoencoder.hidden.device)
        if self.training and self.noise_std:
            voxels = self.autoencoder.tokenizer.noisy(voxels, self.noise_std)
        with adapters_off(self.autoencoder):
            return {"loss": self.autoencoder(voxels)}


class _WholeModel(Objective):
    """Base of the objectives that run the whole model."""

    def __init__(
        self,
        model: AnyModel,
        config: LLM4BrainStage,
        prompts: Sequence[str] = (),
        instructions: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.config, self.losses = model, config, config.losses
        self.prompts, self.instructions = tuple(prompts), instructions or {}

    @property
    def shared(self) -> LLM4Brain:
        """Model with the weights that all grids share."""
        return self.model.first

    def latents(self, batch: Any) -> Tensor:
        """Compute Z (B, L, d) of a batch, with the configured noise in training."""
        own = reader(self.model, batch)
        voxels = batch.voxels.to(own.device)
        if self.training and self.config.noise_std:
            voxels = own.tokenizer.noisy(voxels, self.config.noise_std)
        return own.brain_latents(voxels, batch.subjects)

    def answers(self, latents: Tensor, trial_ids: Sequence[str], answers: Sequence[str]) -> Tensor:
        """Compute the answer loss; the prompt is the instruction of the trial or a random one."""
        tokenizer = self.shared.text_tokenizer
        draw = shards.draw(lambda n: torch.randint(len(self.prompts), (n,)), len(answers)).tolist()
        device = latents.device
        prompts = [
            self.instructions.get(t, self.prompts[i]) for t, i in zip(trial_ids, draw, strict=True)
        ]
        prompt_ids, prompt_mask = encode_prompts(tokenizer, prompts)
        ids, mask = encode_answers(tokenizer, answers, max_tokens=self.config.max_answer_tokens)
        start = len(self.shared.start)
        self.tokens += int(prompt_mask.sum() + mask.sum()) + len(mask) * (latents.shape[1] + start)
        loss = self.shared.answer_loss(
            self.shared.projection(latents),
            prompt_ids.to(device),
            ids.to(device),
            mask.to(device),
            # prompts of equal length need no mask, and a mask disables the fused attention
            prompt_mask=None if bool(prompt_mask.all()) else prompt_mask.to(device),
            reduction=self.losses.reduction,
        )
        return shards.share(loss, mask.sum() if self.losses.reduction == "token" else None)


class Captions(_WholeModel):
    """Objective of the video stage: caption clips through the frozen LLM."""

    def forward(self, batch: Any) -> Terms:
        """Compute the answer loss of a batch of clips (`frames`, `texts`)."""
        latents = self.shared.video_latents(batch.frames.to(self.shared.device))
        return {"loss": self.answers(latents, batch.trial_ids, batch.texts)}


class Calibration(_WholeModel):
    """Objective of calibration: answers from predicted latents, which are shrunken and noisy."""

    def forward(self, batch: Any) -> Terms:
        """Compute the answer loss of a batch of latents (`frames`, `texts`)."""
        latents = batch.frames.to(self.shared.device)
        return {"loss": self.answers(latents, batch.trial_ids, batch.texts)}


class StageOne(_WholeModel):
    """Objective of stage I: L = β·L_CLIP + (1−β)·L_L2L1 (LLM4Brain, equation 2)."""

    def __init__(self, model: AnyModel, config: LLM4BrainStage, targets: VideoLatents) -> None:
        super().__init__(model, config)
        self.targets = targets

    def forward(self, batch: Any) -> Terms:
        """Compute the alignment losses of a batch of windows."""
        z = self.latents(batch)
        x = self.targets.of(batch.trial_ids, z.device)
        tau = self.shared.log_tau if self.losses.learn_tau else self.shared.log_tau.detach()
        brain, video = (shards.gather(self.shared.pooled(latents)) for latents in (z, x))
        clip = shards.joint(clip_loss(brain, video, tau))
        align = shards.share(alignment_loss(z, x, alpha=self.losses.alpha))
        beta = self.losses.beta
        return {"loss": beta * clip + (1 - beta) * align, "clip_loss": clip, "l2l1_loss": align}


@dataclass(frozen=True)
class Pair:
    """Source batch and target batch."""

    source: Any
    target: Any

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """Trial ids of both batches, source first."""
        return (*self.source.trial_ids, *self.target.trial_ids)

    @property
    def places(self) -> tuple[str, ...]:
        """Descriptions of the windows of both batches, source first."""
        return (*places(self.source), *places(self.target))

    @property
    def shard(self) -> Shard | None:
        """Shard of the source batch; that of the target batch is its own."""
        return getattr(self.source, "shard", None)


class PairedLoader:
    """Pair each source batch with the next target batch; the target loader restarts as needed.

    Parameters
    ----------
    source, target : Loader
    """

    def __init__(self, source: Loader, target: Loader) -> None:
        self.source, self.target = source, target

    def divide(self, part: Part) -> None:
        """Yield only the rows of one process of both batches."""
        self.source.divide(part)  # type: ignore[attr-defined]
        self.target.divide(part)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Pair]:
        targets = forever(self.target)
        for source in self.source:
            yield Pair(source, next(targets))

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both loaders."""
        return {"source": self.source.state_dict(), "target": self.target.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the states of both loaders."""
        self.source.load_state_dict(state["source"])
        self.target.load_state_dict(state["target"])


class StageTwo(_WholeModel):
    """Objective of stage II: answer loss and adaptation to unlabelled target subjects.

    L = λ·L_CE + (1−λ)·η·(L_NC + L_ES) (LLM4Brain, equations 3 to 6), plus the class loss of
    labelled source samples, which DANCE has and the paper omits. Without target samples, L is L_CE
    plus the class loss: the inductive baseline.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    config : LLM4BrainStage
    prompts : sequence of str
        One is drawn at random for each sample.
    instructions : mapping of str to str, optional
        Instruction by trial id, which replaces the random prompt.
    answers : mapping of str to str, optional
        Answer text by trial id; default: the texts of the trials.
    labels : mapping of str to int, optional
        Class by trial id, for source trials.
    n_target : int
        Number of target trials N, the rows of the memory bank. 0: no adaptation.
    """

    memory: Tensor

    def __init__(
        self,
        model: AnyModel,
        config: LLM4BrainStage,
        *,
        prompts: Sequence[str],
        instructions: Mapping[str, str] | None = None,
        answers: Mapping[str, str] | None = None,
        labels: Mapping[str, int] | None = None,
        n_target: int = 0,
    ) -> None:
        super().__init__(model, config, prompts, instructions)
        self.texts, self.labels = answers, labels
        heads = model.first.prototypes
        width = heads.shape[1] if heads is not None else 0
        self.register_buffer("memory", torch.zeros(n_target, width, device=model.device))
        self.rho = entropy_threshold(config.losses, model.first.config.n_classes)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Any) -> Terms:
        """Compute all loss terms of a source batch, or of a :class:`Pair`."""
        source, target = (batch.source, batch.target) if isinstance(batch, Pair) else (batch, None)
        z = self.latents(source)
        texts = source.texts if self.texts is None else [self.texts[t] for t in source.trial_ids]
        answer = self.answers(z, source.trial_ids, texts)
        terms = {"answer_loss": answer}
        loss = answer
        if target is not None:
            with shards.within(getattr(target, "shard", None)):
                adaptation = self._adapt(target, terms)
            weight = self.losses.lambda_ce
            loss = weight * answer + (1 - weight) * self.losses.eta * adaptation
        # only training trials have classes; validation uses the answer loss alone
        if self.training and self.labels is not None and self.losses.source_ce_weight:
            truth = torch.tensor([self.labels[t] for t in source.trial_ids], device=z.device)
            logits = self.shared.class_logits(
                self.shared.pooled(z).float(), temperature=self.losses.tau_cls
            )
            terms["class_loss"] = shards.share(F.cross_entropy(logits, truth))
            loss = loss + self.losses.source_ce_weight * terms["class_loss"]
        return {"loss": loss, **terms}

    def _adapt(self, target: Any, terms: Terms) -> Tensor:
        features = unit(self.shared.pooled(self.latents(target)).float())
        features = shards.gather(features)
        rows = shards.gather(target.indices.to(features.device))
        self._seen.append((features.detach(), rows))
        if not bool(features.isfinite().all()):
            return features.sum()  # the guard of the loop reports the trials and skips the step
        losses = self.losses
        clustering = ops.neighborhood_clustering(
            features,
            self.shared.unit_prototypes(),
            self.memory,
            rows,
            temperature=losses.tau_nc,
            variant=losses.nc_variant,
        )
        logits = self.shared.class_logits(features, temperature=losses.tau_cls)
        separation = ops.entropy_separation(logits, rho=self.rho, margin=losses.margin)
        terms["nc_loss"], terms["es_loss"] = shards.joint(clustering), shards.joint(separation)
        return losses.nc * terms["nc_loss"] + losses.es * terms["es_loss"]

    def after_step(self) -> None:
        """Store the target features from before the step in the memory bank (DANCE)."""
        for features, rows in self._seen:
            ops.memory_update_(self.memory, features, rows, momentum=self.losses.momentum)

    def before_step(self) -> None:
        """Discard the target features of the previous step, which may have been skipped."""
        self._seen = []
