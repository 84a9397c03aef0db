"""Target latents X of stage I, computed once from clips or texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._arguments import checked
from ...data import FitScope
from ...errors import InputError
from ...nn.modes import evaluating
from ..model import LLM4Brain
from .clip_loader import Frames, stack_frames


@dataclass(frozen=True, eq=False)
class VideoLatents:
    """Target latents X by trial; computed once because the video branch is frozen.

    Parameters
    ----------
    rows : dict of str to int
        Row of each trial id.
    latents : Tensor, (N, L, d)
    scopes : tuple of FitScope
        Estimators fitted for the latents, for the leak auditor.
    """

    rows: dict[str, int]
    latents: Tensor
    scopes: tuple[FitScope, ...] = ()

    def of(self, trial_ids: Sequence[str], device: torch.device) -> Tensor:
        """Return the latents (B, L, d) of trials."""
        missing = [t for t in trial_ids if t not in self.rows]
        if missing:
            raise InputError(
                f"stage_one: every trial must have a clip, got none for {', '.join(missing[:5])}."
            )
        return self.latents[[self.rows[t] for t in trial_ids]].to(device)


@checked
def video_targets(
    model: LLM4Brain, trial_ids: Sequence[str], frames: Frames, *, batch_size: int = 32
) -> VideoLatents:
    """Compute X of every clip once, so that stage I does not run the video branch.

    Parameters
    ----------
    model : LLM4Brain
    trial_ids : sequence of str
    frames : callable
        Maps a trial id to frames (T, 3, H, W), float in [0, 1].
    batch_size : int

    Returns
    -------
    VideoLatents
    """
    if not trial_ids:
        raise InputError("video_targets: trial_ids must not be empty, got none.")
    with evaluating(model):
        sizes = model.config.qformer
        latents = torch.empty(len(trial_ids), sizes.n_queries, sizes.dim)
        with torch.no_grad():
            for i in range(0, len(trial_ids), batch_size):
                clips = stack_frames(frames, tuple(trial_ids[i : i + batch_size]))
                latents[i : i + len(clips)] = model.video_latents(clips.to(model.device)).float()
    return VideoLatents({t: i for i, t in enumerate(trial_ids)}, latents)


@checked
@torch.no_grad()
def text_targets(model: LLM4Brain, texts: Mapping[str, str], *, fit: Sequence[str]) -> VideoLatents:
    """Compute target latents from texts, for cohorts without clips.

    Every latent of a trial is the mean of the input embeddings of its tokens, weighted by inverse
    document frequency (BrainLLM, arXiv 2311.09889, warms up on the plain mean). The projection is
    first set to an orthogonal map. If latents and embeddings have the same width, the latents are
    then a rotation of the embeddings, otherwise the best approximation.

    Parameters
    ----------
    model : LLM4Brain
        Its projection is overwritten.
    texts : mapping of str to str
        Text by trial id.
    fit : sequence of str
        Training trials; document frequencies are counted over these only.

    Returns
    -------
    VideoLatents
    """
    torch.nn.init.orthogonal_(model.projection.weight)
    torch.nn.init.zeros_(model.projection.bias)
    encode = model.text_tokenizer.encode
    words = {t: encode(text, add_special_tokens=False) for t, text in texts.items()}
    seen = Counter(word for t in fit for word in set(words[t]))
    embeddings = model.llm.get_input_embeddings().weight.float()
    rows = []
    for ids in words.values():
        # add-one counts: a token in no training text has the largest weight, one in all has 0
        weight = torch.tensor([math.log((1 + len(fit)) / (1 + seen[i])) for i in ids])
        if not bool((weight > 0).any()):
            weight = torch.ones(len(ids))
        mean = (weight / weight.sum()).to(embeddings) @ embeddings[ids]
        rows.append(mean @ model.projection.weight.float())
    # one latent for all queries, without copies
    latents = torch.stack(rows).cpu()[:, None].expand(-1, model.config.qformer.n_queries, -1)
    scope = FitScope("document frequencies", tuple(fit))
    return VideoLatents({t: i for i, t in enumerate(words)}, latents, (scope,))
