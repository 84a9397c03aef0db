"""Write a sentence towards a predicted embedding: shots, candidates, choice, edits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ...errors import InputError
from .candidates import Candidates
from .editing import SharedWords, edit_lines
from .line_writer import LineWriter
from .lines import Lines
from .options import SentenceWriting
from .readout import SentenceReadout

Array = npt.NDArray[np.float64]


def write_sentence(
    predicted: Array,
    readout: SentenceReadout,
    writer: LineWriter,
    options: SentenceWriting,
    generator: torch.Generator,
    shared: SharedWords | None = None,
) -> Candidates:
    """Write candidates for one predicted embedding, best first.

    The shots farthest from the prediction are left out of a prompt that would otherwise not fit,
    with a new line, into the context of the language model.

    Parameters
    ----------
    predicted : ndarray, (F,) float64
        A unit vector, or zeros for no brain: the shots are then the first training texts.
    readout, writer, options
    generator : torch.Generator
        On the CPU; decides about shots and tokens.
    shared : SharedWords, optional
        Words for editing.

    Returns
    -------
    Candidates
        Without duplicates. ``log_p`` is after the prompt that each was written for; after the first
        prompt with editing.

    Raises
    ------
    InputError
        The nearest shot alone leaves no room for a line.
    """
    near = readout.vectors @ predicted
    order = np.argsort(-near, kind="stable")
    nearest = order[: options.shots][::-1]
    shots = [
        nearest,
        *(_drawn(near, order, options, generator) for _ in range(options.prompts - 1)),
    ]
    prompts = [_prompt([readout.texts[i] for i in rows], writer, options) for rows in shots]
    found = writer.write(prompts, options.samples, sampling=options.sampling, generator=generator)
    lines = Lines(options.fluency, without=readout.texts)
    fresh = set(lines.new(found.texts))
    rows = [i for i, text in enumerate(found.texts) if text in fresh]
    if not rows:
        return lines.candidates()
    lines.add(_some(found, rows), readout.embed([found.texts[i] for i in rows]) @ predicted)
    if not options.rounds or shared is None:
        return lines.candidates()
    # all likelihoods after the same list
    begun = writer.fitting(prompts[0], lines.best(2 * options.kept))
    if not begun:
        return lines.candidates()
    edited = Lines(options.fluency, without=readout.texts)
    edited.add(writer.score(prompts[0], begun), readout.embed(begun) @ predicted)
    edit_lines(edited, predicted, readout, writer, prompts[0], shared, options)
    return edited.candidates()


def _prompt(texts: list[str], writer: LineWriter, options: SentenceWriting) -> tuple[int, ...]:
    """Tokens of the last texts, of as many as leave room for a line."""
    # a line that is scored for editing has the token of its end beside those that were written
    room, most = options.max_new_tokens + bool(options.rounds), writer.context
    for first in range(len(texts)):
        prompt = writer.prompt(texts[first:])
        if most is None or len(prompt) + room <= most:
            return prompt
    raise InputError(
        f"write_sentence: the nearest training text must leave {room} tokens for a line in the "
        f"language model's context of {most}, got '{texts[-1][:60]}' of {len(prompt)} tokens. Use "
        "a smaller max_new_tokens, shorter texts or a language model with a longer context."
    )


def _some(lines: Candidates, rows: list[int]) -> Candidates:
    return Candidates(tuple(lines.texts[i] for i in rows), lines.log_p[rows], lines.tokens[rows])


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
