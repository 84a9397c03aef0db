"""Brain windows with their texts, and a loader that can be resumed within an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..._arguments import checked
from ..._shards import Shard
from ...errors import InputError
from ...training.resumable import ResumableLoader


@checked
@dataclass(frozen=True, eq=False)
class BrainTexts:
    """Windows and texts of one part of a split.

    Parameters
    ----------
    trial_ids : tuple of str, (N,)
    windows : Tensor, (N, t, k) float32
        Components of the volumes, standardised over the training part.
    texts : tuple of str, (N,)
        Texts to decode.
    prompts : tuple of str or tuple of int, (N,)
        Text before each sample, possibly empty, or its tokens, which reach the language model
        unaltered. A single prompt of tokens is that of all samples. Default: all empty.
    shard : Shard, optional
        Rows of the joined batch that these are, if several processes divide it.
    """

    trial_ids: tuple[str, ...]
    windows: Tensor
    texts: tuple[str, ...]
    prompts: tuple[str | tuple[int, ...], ...] = field(default=())
    shard: Shard | None = None

    def __post_init__(self) -> None:
        n = len(self.trial_ids)
        # tuples, so that equal prompts are found by their tokens
        prompts = tuple(p if isinstance(p, str) else tuple(p) for p in self.prompts or ("",) * n)
        if len(prompts) == 1 and not isinstance(prompts[0], str):
            prompts *= n
        object.__setattr__(self, "prompts", prompts)
        windows = len(self.windows) if self.windows.ndim == 3 else -1
        sizes = (windows, len(self.texts), len(self.prompts))
        if not n or sizes != (n, n, n):
            raise InputError(
                f"BrainTexts: windows must be (N, t, k) with as many texts and prompts as "
                f"trial_ids, got {tuple(self.windows.shape)}, {sizes[1]}, {sizes[2]} and {n}."
            )
        if len(set(self.trial_ids)) < n:
            raise InputError("BrainTexts: trial_ids must differ, got one twice.")
        if not bool(self.windows.isfinite().all()):
            raise InputError("BrainTexts: windows must be finite, got NaN or infinity.")

    def __len__(self) -> int:
        return len(self.trial_ids)

    def take(self, rows: Sequence[int]) -> BrainTexts:
        """Select samples, in the order of `rows`."""
        return BrainTexts(
            tuple(self.trial_ids[i] for i in rows),
            self.windows[list(rows)],
            tuple(self.texts[i] for i in rows),
            tuple(self.prompts[i] for i in rows),
        )


class BrainTextLoader(ResumableLoader[BrainTexts]):
    """Loader of brain windows with their texts.

    Parameters
    ----------
    data : BrainTexts
    batch_size : int
    shuffle : bool
    seed : int
        Epoch e is shuffled with seed + e.
    """

    def __init__(
        self, data: BrainTexts, *, batch_size: int, shuffle: bool = True, seed: int = 0
    ) -> None:
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed)
        self.data = data

    def _samples(self) -> int:
        return len(self.data)

    def _batch(self, rows: list[int]) -> BrainTexts:
        return self.data.take(rows)
