"""Load clips in batches by trial id, in an order that can be resumed exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._shards import Shard
from ...errors import InputError
from ...training.resumable import ResumableLoader

Frames = Callable[[str], Tensor]


@dataclass(frozen=True)
class ClipBatch:
    """Batch of clips with their texts.

    Parameters
    ----------
    frames : Tensor, (B, T, 3, H, W) float in [0, 1]
    trial_ids, texts : tuple of str
    shard : Shard or None
    """

    frames: Tensor
    trial_ids: tuple[str, ...]
    texts: tuple[str, ...]
    shard: Shard | None = None


class ClipLoader(ResumableLoader[ClipBatch]):
    """Loader of clip batches.

    Parameters
    ----------
    texts : mapping of str to str
        Caption of the clip, by trial id.
    frames : callable
        Maps a trial id to frames (T, 3, H, W), float in [0, 1].
    batch_size : int
    shuffle : bool
    seed : int
        Epoch e is shuffled with seed + e.
    """

    def __init__(
        self,
        texts: Mapping[str, str],
        frames: Frames,
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        if not texts:
            raise InputError("ClipLoader: texts must hold a trial, got none.")
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed)
        self.texts, self.frames = dict(texts), frames
        self.trial_ids = tuple(self.texts)

    def _samples(self) -> int:
        return len(self.trial_ids)

    def _batch(self, rows: list[int]) -> ClipBatch:
        ids = tuple(self.trial_ids[i] for i in rows)
        return ClipBatch(stack_frames(self.frames, ids), ids, tuple(self.texts[t] for t in ids))


def stack_frames(frames: Frames, trial_ids: tuple[str, ...]) -> Tensor:
    """Stack the stimuli of trials: frames (B, T, 3, H, W), or 2-D features (B, L, d).

    Raises
    ------
    InputError
        A clip is not floating (T, 3, H, W) in [0, 1], or its shape differs from the first.
    """
    clips = [frames(t) for t in trial_ids]
    if all(clip.ndim == 2 for clip in clips):
        return torch.stack(clips)
    for trial, clip in zip(trial_ids, clips, strict=True):
        fits = clip.ndim == 4 and clip.shape[1] == 3 and clip.is_floating_point()
        if not fits or clip.shape != clips[0].shape:
            raise InputError(
                f"frames: the clip of {trial} must be (T, 3, H, W) floating like the others, got "
                f"{tuple(clip.shape)} {clip.dtype}."
            )
        if not bool(((clip >= 0) & (clip <= 1)).all()):
            raise InputError(f"frames: the clip of {trial} must lie in [0, 1]. Divide by 255.")
    return torch.stack(clips)
