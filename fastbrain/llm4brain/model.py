"""LLM4Brain: map voxels to a prefix of a frozen LLM (Zheng & Sun, arXiv 2409.17987).

::

    voxels ─ tokenizer ─ encoder+adapters ─ bridge ─ Q-Former+adapters ─ Z ─ projection ─▶ LLM
                  └────────────── linear readout ───────────────────────┘
    frames ─ video encoder ─────────────────────── Q-Former, adapters off ─ X ─ projection ─▶ LLM

Z and X have the same shape. Stage I aligns Z with X. The video branch is used in training only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..grid import TokenGrid
from ..lm.likelihood import answer_nll, layout, recompute_layers
from ..lm.lora import TunedLLM, is_adapter
from ..lm.prompt_layout import document_start
from ..nn.external_parts import leave_out
from ..nn.frame_encoder import FrameEncoder, placed
from ..nn.layers import adapters_off
from ..nn.positions import as_floats
from ..ops.lengths import unit
from .bridge import Bridge
from .config import LLM4BrainConfig
from .encoder import make_encoder
from .parameter_groups import Groups, parameter_groups, set_trainable
from .qformer import QFormer
from .readout import make_readout
from .subject_table import subject_table
from .tokenizer import VoxelTokenizer


class LLM4Brain(nn.Module):
    """LLM4Brain model. The LLM is frozen, in evaluation mode, and not in the state dict.

    Parameters
    ----------
    config : LLM4BrainConfig
    grid : TokenGrid
    centers_mm : array_like, (n_tokens, 3) float
        Patch centres (x, y, z), mm: ``grid.centers(affine)``.
    llm : PreTrainedModel
        Any causal LM that takes `inputs_embeds`.
    text_tokenizer : PreTrainedTokenizer, optional
        Tokenizer of the LLM. If it has a BOS token, sequences start with it.
    mean, inv_std : array_like, (n_tokens, P) float32, optional
        Voxel statistics of the training runs, in units of scale·raw.
    scale : float
        Factor from stored integers to physical units.
    tuned : TunedLLM, optional
        LoRA on `llm`, the training group "llm_adapters"; it is in the state dict.
    video : Module, optional
        Frozen frame encoder with attribute `dim`, e.g. :func:`from_vision_model`, not in the state
        dict. A learned position code of each frame in the clip is added to its output. Default: a
        :class:`FrameEncoder` of the configured size.
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
        tuned: TunedLLM | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.centers_mm = as_floats(centers_mm, torch.float64)
        self.text_tokenizer = text_tokenizer
        begin, _ = document_start(text_tokenizer)
        # before every sequence
        self.start: tuple[int, ...] = () if begin is None else (begin,)
        sizes, steps = config.encoder, config.encoder.steps
        statistics: dict[str, Any] = {"mean": mean, "inv_std": inv_std, "scale": scale}
        shape: dict[str, Any] = {"steps": steps, "config": sizes.tokenizer}
        self.tokenizer = VoxelTokenizer(grid, config.frames, sizes.dim, **statistics, **shape)
        places = self.tokenizer.centers(self.centers_mm)
        self.subjects = subject_table(config)
        self.config, encoder, n, dim = make_encoder(config, self.tokenizer.n_tokens, places)
        self.encoder: Any = encoder
        self.external_video = video is not None
        self.video = video.requires_grad_(False) if video else FrameEncoder(config.video)
        context_dim = int(self.video.dim)  # type: ignore[arg-type]
        # position of a frame in the clip, which an encoder of single frames does not encode
        self.frame_place = (
            nn.Parameter(torch.zeros(config.video.frames, 1, context_dim)) if video else None
        )
        self.bridge = Bridge(n, dim, out_tokens=config.bridge_tokens, out_dim=context_dim)
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
        self.card: Any = None  # ModelCard of the weights, set when the model is loaded or adapted
        self.llm = llm.requires_grad_(False).eval()
        self.tuned = tuned
        # folder of the adapter that was merged into the language model on loading
        self.adapter_folder: Path | None = None
        # of the language model below that adapter, where it is known
        self.base_digest: str | None = None
        foreign = ("llm.", "video.") if self.external_video else ("llm.",)
        leave_out(self, foreign, but=lambda name: self.tuned is not None and is_adapter(name))

    def train(self, mode: bool = True) -> LLM4Brain:
        """Switch the mode of all parts except the LLM, which stays in evaluation mode."""
        super().train(mode)
        self.llm.eval()
        recompute_layers(self.llm, mode and self.recompute)
        return self

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.log_tau.device

    def part(self, grid: str = "") -> LLM4Brain:
        """Return the model itself, which is of one grid; see :meth:`.GridModels.part`."""
        return self

    @property
    def first(self) -> LLM4Brain:
        """The model itself; see :attr:`.GridModels.first`."""
        return self

    def tokens(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Compute brain tokens (B, W·n_tokens, dim); inputs as in :meth:`brain_latents`."""
        tokens = self.tokenizer(voxels)
        return tokens if self.subjects is None else self.subjects(tokens, subjects)

    def encode(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Compute encoder tokens (B, W·(1 + n_tokens), dim); see :meth:`brain_latents`."""
        return self.encoder(self.tokens(voxels, subjects))

    def brain_latents(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Compute Z (B, n_queries, d_q) of windows (B, F, n_tokens, P) or (B, F, Z, Y, X).

        Windows may be int16 or floating; `subjects` are read with ``config.subjects``.
        """
        return self.latents_of(self.tokens(voxels, subjects))

    def latents_of(self, tokens: Tensor) -> Tensor:
        """Compute Z (B, n_queries, d_q) of tokens (B, W·n_tokens, dim); see :meth:`tokens`."""
        z = self.qformer(self.bridge(self.encoder(tokens)))
        return z if self.readout is None else self.readout(tokens, z)

    def video_latents(self, frames: Tensor) -> Tensor:
        """Compute X (B, n_queries, d_q) of clips (B, T, 3, H, W) in [0, 1], with adapters off.

        With an external frame encoder, `frames` may also be its output, (B, T·patches, dim).
        """
        seen = frames if self.external_video and frames.ndim == 3 else self.video(frames)
        with adapters_off(self.qformer):
            return self.qformer(placed(seen, self.frame_place))

    def prefix(self, voxels: Tensor, subjects: Sequence[str] | None = None) -> Tensor:
        """Compute the brain prefix: input embeddings (B, n_queries, d_llm) for the LLM."""
        return self.projection(self.brain_latents(voxels, subjects))

    def video_prefix(self, frames: Tensor) -> Tensor:
        """Compute the prefix (B, n_queries, d_llm) of a clip."""
        return self.projection(self.video_latents(frames))

    def pooled(self, latents: Tensor) -> Tensor:
        """Pool to one vector per sample: mean (B, d_q) or all queries (B, n_queries·d_q)."""
        return latents.mean(dim=1) if self.config.pool == "mean" else latents.flatten(1)

    def class_logits(self, features: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Divide the cosine of features and class prototypes by a temperature (head g, no bias).

        Parameters
        ----------
        features : Tensor, (B, d), of :meth:`pooled`
        temperature : float

        Returns
        -------
        Tensor, (B, C)
        """
        return unit(features) @ self.unit_prototypes().T / temperature

    def unit_prototypes(self) -> Tensor:
        """Return the class prototypes with L2-normalised rows, (C, d)."""
        if self.prototypes is None:
            raise InputError("LLM4Brain: n_classes must be set for class logits, got 0.")
        return unit(self.prototypes)

    def before_answer(
        self, prefix: Tensor, prompt_ids: Tensor, *, prompt_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Build the embeddings before the answer, for scoring and generation.

        Parameters
        ----------
        prefix : Tensor, (B, L, d_llm)
        prompt_ids : Tensor, (P,) or (B, P) int64
        prompt_mask : Tensor, (B, P) bool, optional

        Returns
        -------
        embeddings : Tensor, (B, T, d_llm)
        mask : Tensor, (B, T) bool, or None if there is no padding
        """
        return layout(
            self.llm,
            prefix,
            prompt_ids,
            prompt_mask=prompt_mask,
            start=self.start,
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
        """Compute the negative log-likelihood of each answer, summed over its tokens.

        Parameters
        ----------
        prefix, prompt_ids, prompt_mask : as in :meth:`before_answer`
        answer_ids : Tensor, (B, A) int64
        answer_mask : Tensor, (B, A) bool

        Returns
        -------
        Tensor, (B,) float32
            Nats. Teacher-forced, so it does not measure free generation.
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
        """Compute the cross-entropy of the answers under the frozen LLM (LLM4Brain, equation 3).

        Parameters
        ----------
        prefix, prompt_ids, answer_ids, answer_mask, prompt_mask : as in :meth:`sequence_nll`
        reduction : {"token", "sequence"}
            "token": mean over tokens. "sequence": sum over tokens and mean over samples, as in the
            paper, which gives long answers more weight.

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
        """Return the parameters by training group; see :mod:`.parameter_groups`."""
        return parameter_groups(self)

    def set_trainable(self, groups: Sequence[str]) -> list[str]:
        """Train `groups` and freeze all others; see :func:`.parameter_groups.set_trainable`."""
        return set_trainable(self, groups, frozen=("llm", "vision"))
