"""Check whether written texts depend on the brain at all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import BrainIgnoredWarning, InputError
from ...stats.derangements import check_partners
from ...stats.inference import Interval, bootstrap_interval
from ..metrics.text_similarity import word_similarity

_DISTINCT = 0.1  # fewest distinct texts, of the distinct true texts
_SAME = 0.5  # share of equal texts from another brain, or without one
_WORDS = "ROUGE-1 F with the true text"


@dataclass(frozen=True)
class BrainUse:
    """Whether a decoder's texts depend on the brain.

    Parameters
    ----------
    n : int
        Number of texts.
    distinct : int
        Number of different written texts.
    expected : int
        Number of different true texts, or `n` if they are not known.
    same_permuted, same_no_brain : float or None
        Share of samples with the same text from another sample's brain (of another true text), and
        without a brain; None if there are no such texts.
    gain : float or None
        Mean score of a sample with its own brain minus that with other brains.
    interval : Interval or None
        95 % bootstrap interval of `gain` over blocks; None for a single block.
    gain_of : str
        What was scored.
    findings : tuple of str
        Why the brain counts as ignored; empty if it does not.
    """

    n: int
    distinct: int
    expected: int
    same_permuted: float | None
    same_no_brain: float | None
    gain: float | None
    interval: Interval | None
    gain_of: str
    findings: tuple[str, ...]

    @property
    def ignored(self) -> bool:
        """Whether there is any finding."""
        return bool(self.findings)

    @property
    def message(self) -> str:
        """One sentence for a report; empty if the brain is not ignored."""
        if not self.findings:
            return ""
        return f"The written texts hardly depend on the brain: {'; '.join(self.findings)}."

    def warn(self) -> None:
        """Issue a :class:`fastbrain.errors.BrainIgnoredWarning` if the brain is ignored."""
        if self.findings:
            warnings.warn(self.message, BrainIgnoredWarning, stacklevel=2)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "findings": list(self.findings), "ignored": self.ignored}


@checked
def brain_use(
    written: Sequence[str],
    truth: Sequence[str] = (),
    *,
    permuted: Sequence[str] = (),
    no_brain: Sequence[str] = (),
    partners: npt.NDArray[np.int64] | None = None,
    similarity: npt.NDArray[np.float64] | None = None,
    own_scores: npt.ArrayLike | None = None,
    permuted_scores: npt.ArrayLike | None = None,
    scored: str = "",
    blocks: Sequence[object] = (),
    seed: int = 0,
) -> BrainUse:
    """Compare written texts with those from other brains and from no brain.

    The brain counts as ignored if there are fewer than two different texts or fewer than a tenth
    of the different true texts; if at least half of the texts are the same with the brain of a
    sample with another true text, or without a brain; or if the interval of the gain over other
    brains includes 0.

    Parameters
    ----------
    written : sequence of str, (N >= 2,)
    truth : sequence of str, (N,), optional
        True texts.
    permuted : sequence of str, (N,), optional
        Text of another sample's brain, for each sample (with `partners`: of the first row).
    no_brain : sequence of str, (N,) or (1,), optional
        Text without a brain.
    partners : ndarray, (R, N) int64, optional
        Derangements: without `permuted`, the other text is the one written from the partner.
    similarity : ndarray, (N, N), optional
        Of written (rows) with true texts (columns), for the gain with `partners`. Default: the
        words in common (ROUGE-1 F).
    own_scores, permuted_scores : array_like, (N,), optional
        Score of each sample with its own and with other brains, larger is better, for instance
        minus the surprise of the true text: for the gain, in place of texts.
    scored : str
        Name of the scores or of the similarity, for the message.
    blocks : sequence, (N,), optional
        The interval resamples whole blocks. Default: single samples.
    seed : int

    Returns
    -------
    BrainUse
        Call its :meth:`~BrainUse.warn` to warn.

    Raises
    ------
    InputError
        Sizes differ, fewer than two texts, or only one of the two scores.
    """
    n = len(written)
    sizes = {"truth": truth, "permuted": permuted, "blocks": blocks}
    wrong = [f"{len(given)} {name}" for name, given in sizes.items() if len(given) not in (0, n)]
    if n < 2 or wrong or len(no_brain) not in (0, 1, n):
        raise InputError(
            "brain_use: all arguments must be of the same N >= 2 samples, got "
            f"{n} written and {', '.join(wrong) or f'{len(no_brain)} no_brain'}."
        )
    if partners is not None:
        check_partners("brain_use", partners, n)
    if similarity is not None and similarity.shape != (n, n):
        raise InputError(f"brain_use: similarity must be ({n}, {n}), got {similarity.shape}.")
    said = [" ".join(text.split()) for text in written]
    true = [" ".join(text.split()) for text in truth]
    others: list[Sequence[str]] = []
    if len(permuted):
        others = [[" ".join(text.split()) for text in permuted]]
    elif partners is not None:
        others = [[said[i] for i in row] for row in partners]
    same_permuted = None
    if others:
        # the text of a partner with the same true text may be the same
        same = [
            mine == theirs
            for row, texts in enumerate(others)
            for i, (mine, theirs) in enumerate(zip(said, texts, strict=True))
            if partners is None or not true or true[partners[row, i]] != true[i]
        ]
        same_permuted = float(np.mean(same)) if same else None
    same_no_brain = None
    if len(no_brain):
        alone = [" ".join(text.split()) for text in no_brain] * (n if len(no_brain) == 1 else 1)
        same_no_brain = float(np.mean([a == b for a, b in zip(said, alone, strict=True)]))
    gains, gain_of = _gains(
        said, true, permuted, partners, similarity, own_scores, permuted_scores, scored
    )
    gain = interval = None
    if gains is not None:
        gain = float(gains.mean())
        interval = bootstrap_interval(
            gains, blocks=list(blocks) if len(blocks) else None, seed=seed
        )
    distinct, expected = len(set(said)), len(set(true)) if true else n
    findings = []
    if expected > 1 and distinct < max(2, _DISTINCT * expected):
        findings.append(f"{distinct} different texts for {expected} different true texts")
    for share, how in ((same_permuted, "with another brain"), (same_no_brain, "without a brain")):
        if share is not None and share >= _SAME:
            findings.append(f"{share:.0%} of the texts are the same {how}")
    if interval is not None and interval.low <= 0:
        findings.append(
            f"the gain of the own brain over other brains is {gain:.3f}, 95 % interval "
            f"{interval.low:.3f} to {interval.high:.3f} ({gain_of})"
        )
    return BrainUse(
        n, distinct, expected, same_permuted, same_no_brain, gain, interval, gain_of,
        tuple(findings),
    )  # fmt: skip


def _gains(
    said: Sequence[str],
    true: Sequence[str],
    permuted: Sequence[str],
    partners: npt.NDArray[np.int64] | None,
    similarity: npt.NDArray[np.float64] | None,
    own_scores: npt.ArrayLike | None,
    permuted_scores: npt.ArrayLike | None,
    scored: str,
) -> tuple[npt.NDArray[np.float64] | None, str]:
    """Gain of every sample (N,), and what was scored; None without texts of other brains."""
    n = len(said)
    if (own_scores is None) != (permuted_scores is None):
        raise InputError("brain_use: own_scores and permuted_scores must be given together.")
    if own_scores is not None and permuted_scores is not None:
        own, other = (np.asarray(v, dtype=np.float64) for v in (own_scores, permuted_scores))
        if own.shape != (n,) or other.shape != (n,):
            raise InputError(
                f"brain_use: scores must be ({n},), got {own.shape} and {other.shape}."
            )
        return own - other, scored or "given scores"
    if not true or (partners is None and not len(permuted)):
        return None, ""
    if len(permuted):
        own, other = (np.diag(word_similarity(texts, true)[0]) for texts in (said, permuted))
        return own - other, _WORDS
    assert partners is not None
    every = word_similarity(said, true)[0] if similarity is None else similarity
    other = every[partners, np.arange(n)].mean(axis=0)
    return np.diag(every) - other, _WORDS if similarity is None else scored or "given similarity"


def brain_use_message(facts: Mapping[str, Any]) -> str:
    """Warning in the facts of an evaluation that its decoder ignores the brain, or empty."""
    return str((facts.get("brain_use") or {}).get("message", ""))
