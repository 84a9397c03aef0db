"""Write a sentence towards a predicted embedding: shots, candidates, choice, edits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ..._arguments import checked
from ...errors import ConfigError
from ..sampling import Sampling
from .candidates import Candidates, LineWriter
from .readout import SentenceReadout

Array = npt.NDArray[np.float64]


@checked(error=ConfigError)
@dataclass(frozen=True)
class SentenceWriting:
    """Options of :class:`SentenceDecoder` for writing.

    Parameters
    ----------
    shots : int
        Training texts in a prompt, those nearest to the predicted embedding, nearest last.
    prompts : int
        Prompts a sentence; the first has the nearest shots, the others draw theirs from the
        nearest ``4 · shots`` with weights that fall with the distance.
    samples : int
        Lines written for each prompt.
    rounds : int
        Rounds of editing: the best lines are cut at random words and continued anew. 0: none.
    kept, cuts, continued : int
        Lines that are edited in a round, cuts of each, and continuations of each cut.
    fluency : float
        Weight of the mean log likelihood of a token, in units of the cosine to the prediction.
    temperature, top_p : float
    max_new_tokens, min_new_tokens : int
    seed : int
    """

    shots: int = 5
    prompts: int = 4
    samples: int = 13
    rounds: int = 0
    kept: int = 8
    cuts: int = 2
    continued: int = 3
    fluency: float = 0.05
    temperature: float = 0.9
    top_p: float = 0.95
    max_new_tokens: int = 32
    min_new_tokens: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("shots", "prompts", "samples", "kept", "cuts", "continued"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"SentenceWriting: {name} must be >= 1, got {getattr(self, name)}."
                )
        if self.rounds < 0 or not self.fluency >= 0:
            raise ConfigError(
                "SentenceWriting: rounds and fluency must be >= 0, got "
                f"{self.rounds} and {self.fluency}."
            )
        _ = self.sampling  # its own checks

    @property
    def sampling(self) -> Sampling:
        """Options of the sampler."""
        return Sampling(
            method="sample",
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
        )


def write_sentence(
    predicted: Array,
    readout: SentenceReadout,
    writer: LineWriter,
    options: SentenceWriting,
    generator: torch.Generator,
) -> Candidates:
    """Write candidates for one predicted embedding, best first.

    Parameters
    ----------
    predicted : ndarray, (F,) float64
        A unit vector, or zeros for no brain: the shots are then the first training texts.
    readout, writer, options
    generator : torch.Generator
        On the CPU; decides about shots, tokens and cuts.

    Returns
    -------
    Candidates
        Without duplicates. ``log_p`` is after the prompt that each was written for.
    """
    near = readout.vectors @ predicted
    order = np.argsort(-near, kind="stable")
    known = {_key(text) for text in readout.texts}
    found: dict[str, tuple[float, int]] = {}
    scores: dict[str, float] = {}

    def add(lines: Candidates) -> None:
        fresh: dict[str, tuple[float, int]] = {}
        for text, log_p, tokens in zip(lines.texts, lines.log_p, lines.tokens, strict=True):
            if text.split() and text not in found and _key(text) not in known:
                fresh.setdefault(text, (float(log_p), int(tokens)))
        if not fresh:
            return
        closeness = readout.embed(list(fresh)) @ predicted
        for (text, (log_p, tokens)), cosine in zip(fresh.items(), closeness, strict=True):
            scores[text] = float(cosine) + options.fluency * log_p / tokens
        found.update(fresh)

    nearest = order[: options.shots][::-1]
    shots = [
        nearest,
        *(_drawn(near, order, options, generator) for _ in range(options.prompts - 1)),
    ]
    prompts = [writer.prompt([readout.texts[i] for i in rows]) for rows in shots]
    add(writer.write(prompts, options.samples, sampling=options.sampling, generator=generator))
    again = replace(options.sampling, min_new_tokens=0)
    for _ in range(options.rounds if found else 0):
        best = sorted(scores, key=scores.__getitem__, reverse=True)[: options.kept]
        starts = [_cut(text, generator) for text in best for _ in range(options.cuts)]
        same = prompts[:1] * len(starts)
        lines = writer.write(
            same, options.continued, sampling=again, generator=generator, starts=starts
        )
        add(writer.score(prompts[0], [text or "." for text in lines.texts]))
    best = sorted(scores, key=scores.__getitem__, reverse=True)
    return Candidates(
        tuple(best),
        np.array([found[text][0] for text in best]),
        np.array([found[text][1] for text in best]),
    )


def _drawn(
    near: Array,
    order: npt.NDArray[np.int64],
    options: SentenceWriting,
    generator: torch.Generator,
) -> npt.NDArray[np.int64]:
    """Draw shots among the nearest training texts, nearest last."""
    pool = order[: 4 * options.shots]
    # a text that is 0.06 less like the prediction is drawn 1/e as often
    weights = torch.softmax(torch.from_numpy(near[pool] / 0.06), dim=0)
    count = min(options.shots, len(pool))
    drawn = torch.multinomial(weights, count, generator=generator).sort()[0]
    rows: npt.NDArray[np.int64] = pool[drawn.numpy()][::-1]
    return rows


def _cut(text: str, generator: torch.Generator) -> str:
    """Keep a random number of the first words, but not all."""
    words = text.split()
    keep = int(torch.randint(0, max(1, len(words)), (1,), generator=generator))
    return " ".join(words[:keep])


def _key(text: str) -> str:
    return " ".join(text.lower().split())
