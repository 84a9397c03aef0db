"""Caption files of BrainHub, in and out, and scores of captions with several references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from .._io import read_json, write_json
from ..errors import CohortError, InputError, some
from ..stats.derangements import derangements
from ..stats.inference import bootstrap_interval
from .analyses.brain_use import BrainUse, brain_use
from .controls.conditions import DERANGED
from .metrics.cider import cider_scorer, cider_signature
from .metrics.identification import identification_from_text
from .metrics.meteor import meteor_scorer, meteor_signature
from .metrics.ngrams import longest_common
from .metrics.registry import rouge_signature
from .metrics.spice import spice, spice_absent
from .scores import Score, only_score, score_beside_null, with_adjusted


@dataclass(frozen=True)
class CaptionScores:
    """Scores of a caption file.

    Parameters
    ----------
    scores : tuple of Score
        With the captions of other images as the chance level; all p form one family.
    use : BrainUse
        Whether the captions depend on the brain.
    ids : tuple of str
        Scored images in the order of the references.
    absent : dict of str to str
        Metric that could not be computed to the reason.
    """

    scores: tuple[Score, ...]
    use: BrainUse
    ids: tuple[str, ...]
    absent: dict[str, str]

    def score(self, metric: str) -> Score:
        """Return the score of that name.

        Raises
        ------
        InputError
            There is none.
        """
        return only_score(self.scores, metric, where="CaptionScores")


@checked
def read_captions(path: str | Path) -> dict[str, str]:
    """Read the captions of a decoder: a JSON object of image id to one text.

    The format is that of BrainHub (``sub01_decoded_caption.json``, ``fmricap.json``).

    Raises
    ------
    InputError
        The file is missing or is no such object.
    """
    found = _read(path, "read_captions")
    bad = [key for key, value in found.items() if not isinstance(value, str)]
    if bad:
        raise InputError(
            f"read_captions: {path} must hold one text an image, got others for {some(bad)}."
        )
    return found


@checked
def read_caption_references(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read reference captions: a JSON object of image id to a list of texts, or to one text.

    The format is that of BrainHub (``fmri_cococap.json``).

    Raises
    ------
    InputError
        The file is missing or is no such object.
    """
    found = {
        key: (value,) if isinstance(value, str) else value
        for key, value in _read(path, "read_caption_references").items()
    }
    bad = [
        key
        for key, value in found.items()
        if not isinstance(value, (list, tuple))
        or not value
        or not all(isinstance(t, str) for t in value)
    ]
    if bad:
        raise InputError(
            f"read_caption_references: {path} must hold one or more texts an image, got others "
            f"for {some(bad)}."
        )
    return {key: tuple(value) for key, value in found.items()}


@checked
def write_captions(
    path: str | Path, captions: Mapping[str, str] | Mapping[str, Sequence[str]]
) -> Path:
    """Write captions or references in the format of BrainHub, atomically.

    Parameters
    ----------
    path : str or Path
    captions : mapping of str to str, or of str to sequence of str
        Image id to its caption, or to its references.

    Raises
    ------
    InputError
        There is no image.
    """
    if not captions:
        raise InputError("write_captions: captions must be of at least one image, got none.")
    return write_json(
        path, {key: v if isinstance(v, str) else list(v) for key, v in captions.items()}
    )


@checked
def score_captions(
    captions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    blocks: Mapping[str, object] | None = None,
    meaning: bool = True,
    count: int = 100,
    seed: int = 0,
) -> CaptionScores:
    """Score captions of any decoder, with the captions of other images as the chance level.

    CIDEr-D, METEOR and ROUGE-L F (best reference) take all references; identification takes the
    first reference of each image. SPICE is computed where Java and its program are installed, with
    the first derangement alone as its chance level and without p.

    Parameters
    ----------
    captions : mapping of str to str
        From :func:`read_captions`.
    references : mapping of str to sequence of str
        From :func:`read_caption_references`. Every image with a caption needs references; images
        without a caption are not scored.
    blocks : mapping of str to object, optional
        Run of each image: other images are then of another run, and intervals resample runs.
        Default: each image is its own block, as a file of captions has no runs.
    meaning : bool
        Whether to identify by sentence embeddings too (extra ``demo``).
    count : int
        Number of derangements.
    seed : int

    Returns
    -------
    CaptionScores

    Raises
    ------
    InputError
        Fewer than two captions, or an image without references or block.
    """
    ids = tuple(key for key in references if key in captions)
    unknown = [key for key in captions if key not in references]
    loose = [key for key in ids if blocks is not None and key not in blocks]
    if unknown:
        raise InputError(
            "score_captions: captions must be of images with references, got none for "
            f"{some(unknown)}. Add their references, or leave them out."
        )
    if loose:
        raise InputError(
            f"score_captions: blocks must name the run of every image, got none for {some(loose)}."
        )
    if empty := [key for key in ids if not references[key]]:
        raise InputError(
            f"score_captions: references must be one or more texts an image, got none for "
            f"{some(empty)}. Add them, or leave these images out."
        )
    if len(ids) < 2:
        raise InputError(
            f"score_captions: captions must be of two or more images, got {len(ids)}: the others "
            "are the chance level."
        )
    said = [captions[key] for key in ids]
    known = [list(references[key]) for key in ids]
    runs = list(ids) if blocks is None else [blocks[key] for key in ids]
    partners = derangements(runs, count=count, seed=seed)
    rated = (
        ("cider_d", cider_scorer(known), cider_signature()),
        ("meteor", meteor_scorer(known), meteor_signature()),
        ("rougeL_f", _rouge_scorer(known), rouge_signature("rougeL F, best reference")),
    )
    scores = []
    for name, score, signature in rated:
        found = _beside(name, score, said, partners, runs, seed)
        several = f"{signature}|nrefs:{min(map(len, known))}-{max(map(len, known))}"
        scores.append(replace(found, signature=several))
    absent = {}
    if reason := spice_absent():
        absent["spice"] = reason
    else:
        own, signature = spice(said, known)
        other, _ = spice([said[i] for i in partners[0]], known)
        interval = bootstrap_interval(own, blocks=runs, seed=seed)
        scores.append(
            Score(
                "spice", "free-running", float(own.mean()), len(ids), float(other.mean()), DERANGED,
                interval=interval, signature=f"{signature}; chance: one derangement",
            )
        )  # fmt: skip
    first = [each[0] for each in known]
    for by in ("meaning", "words") if meaning else ("words",):
        named = identification_from_text(said, first, runs, by=by, partners=partners, seed=seed)
        scores += [replace(s, signature=f"{s.signature}; first reference") for s in named.scores]
    use = brain_use(said, first, partners=partners, blocks=runs, seed=seed)
    return CaptionScores(with_adjusted(scores), use, ids, absent)


def _beside(
    name: str,
    score: Callable[[str, int], float],
    said: Sequence[str],
    partners: npt.NDArray[np.int64],
    runs: Sequence[object],
    seed: int,
) -> Score:
    """Score of a metric with the mean over derangements as its chance level."""
    n = len(said)
    own = np.array([score(said[i], i) for i in range(n)])
    null = np.array([np.mean([score(said[j], i) for i, j in enumerate(row)]) for row in partners])
    return score_beside_null(
        name,
        own,
        null,
        mode="free-running",
        control=DERANGED,
        blocks=runs,
        partners=partners,
        seed=seed,
    )


def _rouge_scorer(references: Sequence[Sequence[str]]) -> Callable[[str, int], float]:
    """ROUGE-L F of a text with the best reference of a sample, by its number."""
    from rouge_score.tokenize import tokenize

    @lru_cache(maxsize=65_536)
    def words(text: str) -> list[str]:
        return list(tokenize(text, None))

    def score(text: str, sample: int) -> float:
        own = words(text)
        pairs = [(longest_common(own, words(r)), len(own) + len(words(r)))
                 for r in references[sample]]  # fmt: skip
        # F of precision and recall of a common subsequence: twice its length over both lengths
        return max(2 * common / both if common else 0.0 for common, both in pairs)

    return score


def _read(path: str | Path, function: str) -> dict[str, Any]:
    if not Path(path).is_file():
        found = "a folder" if Path(path).is_dir() else "no such file"
        raise InputError(
            f"{function}: path must be a JSON file of captions, got {path}: {found}. Name the file."
        )
    try:
        found = read_json(path)
    except CohortError as error:
        raise InputError(f"{function}: {error}") from error
    if not isinstance(found, dict) or not found:
        raise InputError(
            f"{function}: {path} must hold an object of image id to text, got "
            f"{type(found).__name__}."
        )
    return found
