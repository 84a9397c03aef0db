"""LLM4Brain: voxels to a prefix that a frozen LLM reads (Zheng & Sun, arXiv 2409.17987).

::

    voxels ─ tokenizer ─ encoder+adapters ─ bridge ─ Q-Former+adapters ─ Z ─ projection ─▶ LLM
                  └────────────── linear readout ───────────────────────┘
    frames ─ video encoder ─────────────────────── Q-Former, adapters off ─ X ─ projection ─▶ LLM

Z and X have one shape and one meaning, which stage I enforces; the video branch is for training
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..grid import TokenGrid
from ..lm.likelihood import answer_nll, layout, recompute_layers
from ..nn.external_parts import leave_out
from ..nn.frame_encoder import FrameEncoder, placed
from ..nn.layers import adapters_off
from ..nn.positions import as_floats
from ..ops.lengths import unit
from .bridge import Bridge
from .config import LLM4BrainConfig
from .encoder import SCMBM
from .parameter_groups import Groups, parameter_groups, set_trainable
from .qformer import QFormer
from .readout import make_readout
from .subject_table import subject_table
from .tokenizer import VoxelTokenizer


class LLM4Brain(nn.Module):
    """The whole model. The LLM stays frozen, in evaluation mode, and out of the state dict.

    Parameters
    ----------
    config : LLM4BrainConfig
    grid : TokenGrid
    centers_mm : array_like, (n_tokens, 3) float
        Patch centres (x, y, z), mm: ``grid.centers(affine)``.
    llm : PreTrainedModel
        Any causal LM that takes `inputs_embeds`.
    text_tokenizer : PreTrainedTokenizer, optional
        The LLM's tokenizer; sequences start with its BOS where it has one.
    mean, inv_std : array_like, (n_tokens, P) float32, optional
        Voxel statistics of the training runs, in units of scale·raw.
    scale : float
        Factor from stored integers to physical units.
    video : Module, optional
        Frame encoder with attribute `dim`, e.g. :func:`from_vision_model`; it is kept frozen and
        out of the state dict; a learned code of each frame's place in the clip is added to what it
        gives. Default: a :class:`FrameEncoder` of the configured size.
    """

    def __init__(
        self,
        config: LLM4BrainConfig,
        *,
        grid: TokenGrid,
        centers_mm: npt.ArrayLike | Tensor,
        llm: Any,
        text_tokenizer: Any = None,
        mean: npt.ArrayLike | Tensor | None = None,
        inv_std: npt.ArrayLike | Tensor | None = None,
        scale: float = 1.0,
        video: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        self.centers_mm = as_floats(centers_mm, torch.float64)
        self.text_tokenizer = text_tokenizer
        sizes, steps = config.encoder, config.encoder.steps
        statistics: dict[str, Any] = {"mean": mean, "inv_std": inv_std, "scale": scale}
        self.tokenizer = VoxelTokenizer(
            grid, config.frames, sizes.dim, steps=steps, config=sizes.tokenizer, **statistics
        )
        places = self.tokenizer.centers(self.centers_mm)
        self.subjects = subject_table(config)
        self.encoder = SCMBM(sizes, places, adapter=config.adapter)
        self.external_video = video is not None
        self.video = video.requires_grad_(False) if video else FrameEncoder(config.video)
        context_dim = int(self.video.dim)  # type: ignore[arg-type]
        # where in the clip a frame is, which an encoder of single frames cannot say
        self.frame_place = (
            nn.Parameter(torch.zeros(config.video.frames, 1, context_dim)) if video else None
        )
        self.bridge = Bridge(
            steps * (1 + self.tokenizer.n_tokens),
            sizes.dim,
            out_tokens=config.bridge_tokens,
            out_dim=context_dim,
        )
        self.qformer = QFormer(config.qformer, context_dim, adapter=config.adapter)
        self.readout = make_readout(config, steps * self.tokenizer.n_tokens)
        self.projection = nn.Linear(
            config.qformer.dim, int(llm.get_input_embeddings().weight.shape[1])
        )
        self.log_tau = nn.Parameter(torch.tensor(config.tau).log())
        pooled = config.qformer.dim * (config.qformer.n_queries if config.pool == "flatten" else 1)
        self.prototypes = (
            nn.Parameter(F.normalize(torch.randn(config.n_classes, pooled), dim=1))
            if config.n_classes
            else None
        )
        self.recompute = False
        self.card: Any = None  # where the weights came from, once loaded or saved
        self.llm = llm.requires_grad_(False).eval()
        leave_out(self, ("llm.", "video.") if self.external_video else ("llm.",))

    def train(self, mode: bool = True) -> LLM4Brain:
        """Switch the trainable parts; the LLM never leaves evaluation mode."""
        super().train(mode)
        self.llm.eval()
        recompute_layers(self.llm, mode and self.recompute)
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.log_tau.device

    @property
    def bos_token_id(self) -> int | None:
        """First token of every sequence, if the LLM's tokenizer has one."""
        return getattr(self.text_tokenizer, "bos_token_id", None)

    def tokens(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Brain tokens (B, W·n_tokens, dim) of windows as :meth:`brain_latents` takes."""
        tokens = self.tokenizer(voxels)
        return tokens if self.subjects is None else self.subjects(tokens, subjects)

    def encode(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Encoder tokens (B, W·(1 + n_tokens), dim) of windows as :meth:`brain_latents` takes."""
        return self.encoder(self.tokens(voxels, subjects))

    def brain_latents(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Z (B, n_queries, d_q) of windows (B, F, n_tokens, P) or (B, F, Z, Y, X), int16 too.

        `subjects`, whose each window is, is read by a model with ``config.subjects`` alone.
        """
        return self.latents_of(self.tokens(voxels, subjects))

    def latents_of(self, tokens: Tensor) -> Tensor:
        """Z (B, n_queries, d_q) of brain tokens (B, W·n_tokens, dim), those of :meth:`tokens`."""
        z = self.qformer(self.bridge(self.encoder(tokens)))
        return z if self.readout is None else self.readout(tokens, z)

    def video_latents(self, frames: Tensor) -> Tensor:
        """X (B, n_queries, d_q) of clips `frames` (B, T, 3, H, W) in [0, 1]; adapters off.

        What an external frame encoder made of them, (B, T·patches, dim), is taken in their place.
        """
        seen = frames if self.external_video and frames.ndim == 3 else self.video(frames)
        with adapters_off(self.qformer):
            return self.qformer(placed(seen, self.frame_place))

    def prefix(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Input embeddings (B, n_queries, d_llm) that stand for the brain in front of the LLM."""
        return self.projection(self.brain_latents(voxels, subjects))

    def video_prefix(self, frames: Tensor) -> Tensor:
        """Input embeddings (B, n_queries, d_llm) that stand for the clip."""
        return self.projection(self.video_latents(frames))

    def pooled(self, latents: Tensor) -> Tensor:
        """One vector a sample: mean over queries (B, d_q), or all of them (B, n_queries·d_q)."""
        return latents.mean(dim=1) if self.config.pool == "mean" else latents.flatten(1)

    def class_logits(self, features: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Cosine of features and class prototypes over a temperature (head g, no bias).

        Parameters
        ----------
        features : Tensor, (B, d)
            What :meth:`pooled` gave.
        temperature : float

        Returns
        -------
        Tensor, (B, C)
        """
        return unit(features) @ self.unit_prototypes().T / temperature

    def unit_prototypes(self) -> Tensor:
        """Class prototypes with L2-normalised rows, (C, d)."""
        if self.prototypes is None:
            raise InputError("LLM4Brain: n_classes must be set for class logits, got 0.")
        return unit(self.prototypes)

    def before_answer(
        self, prefix: Tensor, prompt_ids: Tensor, *, prompt_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """All that stands before the answer, for scoring and for generation alike.

        Parameters
        ----------
        prefix : Tensor, (B, L, d_llm)
        prompt_ids : Tensor, (P,) or (B, P) int64
        prompt_mask : Tensor, (B, P) bool, optional

        Returns
        -------
        embeddings : Tensor, (B, T, d_llm)
        mask : Tensor, (B, T) bool, or None
            None when nothing is padded.
        """
        return layout(
            self.llm,
            prefix,
            prompt_ids,
            prompt_mask=prompt_mask,
            bos_token_id=self.bos_token_id,
            prompt_first=self.config.prompt_first,
        )

    def sequence_nll(
        self,
        prefix: Tensor,
        prompt_ids: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        *,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Negative log-likelihood of each answer, summed over its tokens (for scoring).

        Parameters
        ----------
        prefix, prompt_ids, prompt_mask : as in :meth:`before_answer`
        answer_ids : Tensor, (B, A) int64
        answer_mask : Tensor, (B, A) bool

        Returns
        -------
        Tensor, (B,) float32
            Nats. Teacher-forced: never a measure of free generation.
        """
        before, mask = self.before_answer(prefix, prompt_ids, prompt_mask=prompt_mask)
        return answer_nll(self.llm, before, mask, answer_ids, answer_mask).sum(dim=1)

    def answer_loss(
        self,
        prefix: Tensor,
        prompt_ids: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        *,
        prompt_mask: Tensor | None = None,
        reduction: str = "token",
    ) -> Tensor:
        """Cross-entropy of the answers through the frozen LLM (LLM4Brain, equation 3).

        Parameters
        ----------
        prefix, prompt_ids, answer_ids, answer_mask, prompt_mask : as in :meth:`sequence_nll`
        reduction : {"token", "sequence"}
            Mean over tokens, or the paper's sum over tokens and mean over samples, which weighs
            long answers more.

        Returns
        -------
        Tensor, scalar float32
        """
        if reduction not in ("token", "sequence"):
            raise InputError(
                f"answer_loss: reduction must be 'token' or 'sequence', got {reduction!r}."
            )
        nll = self.sequence_nll(
            prefix, prompt_ids, answer_ids, answer_mask, prompt_mask=prompt_mask
        )
        return nll.sum() / (answer_mask.sum() if reduction == "token" else len(nll))

    def parameter_groups(self) -> Groups:
        """Every parameter under one name of what trains together; see :mod:`.groups`."""
        return parameter_groups(self)

    def set_trainable(self, groups: Sequence[str]) -> list[str]:
        """Train these groups and freeze all others; see :func:`.groups.set_trainable`."""
        return set_trainable(self, groups, frozen=("llm", "vision"))
