"""Decode text with an encoding model: beam search over words proposed by a language model.

Re-implemented from Tang et al. 2023 (Nat. Neurosci. 26:858). The score of a hypothesis is the
likelihood of the measured responses under it. A new word changes few volumes, so its predicted
response is subtracted from their residual, and each word passes the encoding model only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._arguments import checked
from ..data.features.lanczos import LOBES, lanczos_weights
from ..decoding.story import Story
from ..decoding.word_starts import WordStarts
from ..errors import ConfigError, InputError
from .model import EncodingModel
from .word_features import WordFeatures


@checked(error=ConfigError)
@dataclass(frozen=True)
class EncodedSearch:
    """Options of :func:`reconstruct_encoded`; the defaults are those of Tang et al. 2023.

    Parameters
    ----------
    beams : int
        Hypotheses kept at each step.
    extensions : int
        Extensions of each hypothesis: the proposals that fit the responses best.
    mass, ratio : float
        Proposals are the words in the nucleus of this mass, less those with a probability below
        `ratio` times that of the likeliest word.
    candidates : int
        Maximum number of proposals of a hypothesis.
    context : int
        Number of preceding words given to the language model; the paper uses the last 8 s.
    """

    beams: int = 200
    extensions: int = 5
    mass: float = 0.9
    ratio: float = 0.1
    candidates: int = 200
    context: int = 20

    def __post_init__(self) -> None:
        for name in ("beams", "extensions", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"EncodedSearch: {name} must be >= 1, got {getattr(self, name)}.")
        if not (0 < self.mass <= 1 and 0 <= self.ratio <= 1 and self.context >= 0):
            raise ConfigError(
                "EncodedSearch: mass must be in (0, 1], ratio in [0, 1] and context >= 0, got "
                f"{self.mass}, {self.ratio} and {self.context}."
            )


def word_places(counts: Sequence[int], volumes: int) -> list[float]:
    """Spread the words of each window evenly over its `volumes` volumes; times in volumes."""
    return [
        (w + (i + 0.5) / count) * volumes for w, count in enumerate(counts) for i in range(count)
    ]


@checked(least={"volumes": 1})
@torch.no_grad()
def reconstruct_encoded(
    encoding: EncodingModel,
    features: WordFeatures,
    responses: np.ndarray,
    counts: Sequence[int],
    *,
    volumes: int,
    search: EncodedSearch | None = None,
) -> Story:
    """Decode a story with the encoding model, with a given number of words in each window.

    Parameters
    ----------
    encoding : EncodingModel
        Fitted on the training part with the same features.
    features : WordFeatures
        Its language model proposes the words, one token each.
    responses : ndarray, (T, A)
        Volumes from the first one in which a word may be heard to the last one plus the largest
        delay of the encoding model.
    counts : sequence of int, (W,)
        Number of words in each window; :class:`fastbrain.brainllm.WordRate` predicts it.
    volumes : int
        Number of volumes in a window.
    search : EncodedSearch, optional

    Returns
    -------
    Story
        With the log likelihood of the responses, up to a constant, as its score.

    Raises
    ------
    InputError
        A count is negative, there are more windows than volumes, or responses are not finite.
    """
    search = search or EncodedSearch()
    wanted = [int(count) for count in counts]
    if not wanted or min(wanted) < 0 or volumes < 1 or len(wanted) * volumes > len(responses):
        raise InputError(
            f"reconstruct_encoded: counts must be 0 or more for windows of {volumes} volumes "
            f"within {len(responses)}, got {len(wanted)}."
        )
    if responses.ndim != 2 or not np.isfinite(responses).all():
        raise InputError(
            f"reconstruct_encoded: responses must be finite (T, A), got shape {responses.shape} "
            f"with {int((~np.isfinite(responses)).sum())} values that are not finite."
        )
    fit = _Fit(encoding, responses, features.device)
    starts = WordStarts(features.tokenizer, features.llm, features.device)
    paths = torch.zeros(1, 0, dtype=torch.long, device=features.device)
    for place in word_places(wanted, volumes):
        rows, words = _proposed(features, paths, starts, search)
        vectors = features.after(paths, words, rows)
        gain = fit.gains(place, vectors, rows)
        best = _chosen(gain, rows, len(paths), search)
        fit.take(vectors[best], rows[best])
        paths = torch.cat([paths[rows[best]], words[best, None]], dim=1)
    score = fit.scores()
    tokens = paths[int(score.argmax())].tolist()
    ends = np.cumsum(wanted).tolist()
    decode = features.tokenizer.decode
    texts = [decode(tokens[a:b]).strip() for a, b in zip([0, *ends], ends, strict=False)]
    return Story(tuple(texts), float(score.max()))


def _proposed(
    features: WordFeatures, paths: Tensor, starts: WordStarts, search: EncodedSearch
) -> tuple[Tensor, Tensor]:
    """Path index and token of each proposed word."""
    context = paths[:, max(0, paths.shape[1] - search.context) :]
    bos = features.tokenizer.bos_token_id
    if bos is not None or not context.shape[1]:
        first = features.tokenizer.eos_token_id if bos is None else bos
        context = torch.cat([context.new_full((len(context), 1), first), context], dim=1)
    logits = features.llm(input_ids=context, use_cache=False, logits_to_keep=1).logits[:, -1]
    p, ids = starts.beginnings(logits).topk(min(search.candidates, logits.shape[1]), dim=1)
    kept = (p.cumsum(dim=1) - p < search.mass) & (p >= search.ratio * p[:, :1]) & (p > 0)
    rows, columns = kept.nonzero(as_tuple=True)
    return rows, ids[rows, columns]


def _chosen(gain: Tensor, rows: Tensor, paths: int, search: EncodedSearch) -> Tensor:
    """Indices of the best candidates, at most `search.extensions` per path."""
    order = gain.argsort(descending=True, stable=True)
    ordered = rows[order]
    # rank of each candidate among those of its path, starting with the best
    by_path = ordered.argsort(stable=True)
    sizes = torch.bincount(ordered, minlength=paths)
    first = sizes.cumsum(0) - sizes
    rank = torch.empty_like(ordered)
    rank[by_path] = torch.arange(len(ordered), device=rows.device) - first[ordered[by_path]]
    return order[rank < search.extensions][: search.beams]


class _Fit:
    """Residual responses of each path in the volumes that further words can still change."""

    def __init__(
        self, encoding: EncodingModel, responses: np.ndarray, device: torch.device
    ) -> None:
        def put(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device, torch.float32)

        self.delays = encoding.delays
        self.measured = put(encoding.whitened(responses))  # (T, V)
        self.weights = put(encoding.weights @ encoding.whitener)  # (L, D, V)
        # inner products of the feature responses, so that candidates are compared without voxels
        self.gram = torch.einsum("ldv,mev->lmde", self.weights, self.weights)
        self.first = 0
        self.width = 2 * LOBES + max(self.delays) - min(self.delays) + 1
        self.left = self._rows(0, self.width)[None]  # (H, W, V)
        self.total = self.measured.new_zeros(1)
        self.share = self.measured.new_zeros(self.width, len(self.delays))

    def _rows(self, start: int, stop: int) -> Tensor:
        """Measured volumes, followed by zeros after the last one; no path changes these zeros."""
        inside = self.measured[min(start, len(self.measured)) : stop]
        missing = stop - start - len(inside)
        return torch.cat([inside, inside.new_zeros(missing, inside.shape[1])])

    def gains(self, place: float, vectors: Tensor, rows: Tensor) -> Tensor:
        """Log likelihood (C,) of each path with one more word, heard at `place`."""
        first = max(0, int(np.floor(place - 0.5 - LOBES)) + 1 + min(self.delays))
        passed = min(first - self.first, self.width)
        if passed > 0:
            self.total = self.total - 0.5 * self.left[:, :passed].square().sum(dim=(1, 2))
            # volumes that no word of any path affects
            for start in range(self.first + self.width, first):
                self.total = self.total - 0.5 * self._rows(start, start + 1).square().sum()
            fresh = self._rows(max(first, self.first + self.width), first + self.width)
            self.left = torch.cat(
                [self.left[:, passed:], fresh.expand(len(self.left), -1, -1)], dim=1
            )
            self.first = first
        at = np.arange(self.first, self.first + self.width)
        # volume `at` responds to the stimulus of an earlier volume, one for each delay
        heard = at[:, None] - np.asarray(self.delays)
        share = lanczos_weights(heard.ravel() + 0.5, [place])[:, 0].reshape(heard.shape)
        share[(heard < 0) | (at >= len(self.measured))[:, None]] = 0.0
        self.share = torch.from_numpy(share).to(self.left)
        along = torch.einsum("wl,hwv,ldv->hd", self.share, self.left, self.weights)
        cross = self.share.T @ self.share
        square = torch.einsum("lm,lmde->de", cross, self.gram)
        change = (along[rows] * vectors).sum(dim=1) - 0.5 * ((vectors @ square) * vectors).sum(1)
        return self.scores()[rows] + change

    def take(self, vectors: Tensor, rows: Tensor) -> None:
        """Extend the paths `rows` by the chosen words."""
        answer = torch.einsum("nd,ldv->nlv", vectors, self.weights)
        self.left = self.left[rows] - torch.einsum("wl,nlv->nwv", self.share, answer)
        self.total = self.total[rows]

    def scores(self) -> Tensor:
        """Log likelihood (H,) of every path, up to the last volume of the current view."""
        return self.total - 0.5 * self.left.square().sum(dim=(1, 2))
