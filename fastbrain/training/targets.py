"""The video latents X that stage one aligns with, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..models.llm4brain import LLM4Brain
from .clips import Frames, stack_frames


@dataclass(frozen=True, eq=False)
class VideoLatents:
    """X of every clip, computed once: the video branch is frozen.

    Parameters
    ----------
    rows : dict of str to int
        Trial id to row.
    latents : Tensor, (N, L, d)
    """

    rows: dict[str, int]
    latents: Tensor

    def of(self, trial_ids: Sequence[str], device: torch.device) -> Tensor:
        """Latents (B, L, d) of these trials."""
        missing = [t for t in trial_ids if t not in self.rows]
        if missing:
            raise InputError(
                f"stage_one: every trial must have a clip, got none for {', '.join(missing[:5])}."
            )
        return self.latents[[self.rows[t] for t in trial_ids]].to(device)


def video_targets(
    model: LLM4Brain, trial_ids: Sequence[str], frames: Frames, *, batch_size: int = 32
) -> VideoLatents:
    """Compute X of every clip once; stage one then never runs the video branch.

    Parameters
    ----------
    model : LLM4Brain
    trial_ids : sequence of str
    frames : callable
        Trial id to frames (T, 3, H, W) float in [0, 1].
    batch_size : int

    Returns
    -------
    VideoLatents
    """
    if not trial_ids:
        raise InputError("video_targets: trial_ids must not be empty, got none.")
    was_training = model.training
    model.eval()
    parts = []
    with torch.no_grad():
        for i in range(0, len(trial_ids), batch_size):
            clips = stack_frames(frames, tuple(trial_ids[i : i + batch_size]))
            parts.append(model.video_latents(clips.to(model.device)).float().cpu())
    model.train(was_training)
    return VideoLatents({t: i for i, t in enumerate(trial_ids)}, torch.cat(parts))
