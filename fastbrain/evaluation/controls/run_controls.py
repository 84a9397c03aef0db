"""Run all controls in one pass: each brain is read once, each needed pair scored once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...decoding.brain_decoder import BrainDecoder
from ...errors import InputError
from ...stats.derangements import needed_pairs
from .conditions import DERANGED, TRUE, Conditions, Control, same_prompts
from .text_baselines import majority_text, nearest_training_texts, template_text


@checked
def run_controls(
    decoder: BrainDecoder,
    brains: Mapping[str, Any],
    truth: Sequence[str],
    partners: npt.NDArray[np.int64],
    *,
    blocks: Sequence[object],
    prompts: Sequence[str | Sequence[int]] = (),
    train_texts: Sequence[str] = (),
    train_prompts: Sequence[str] = (),
    train_brains: Any = None,
) -> Conditions:
    """Decode and score the true brain and every control in one pass.

    A control changes the brain and keeps the prompt. Derangements need the likelihoods of their
    (brain, text) pairs, each computed once from prefixes that are read once. They need no new texts
    where all partners have the sample's own prompt: the text of a partner's brain is compared with
    the truth of the sample. Elsewhere that text would follow another prompt, so the brains of the
    first derangement write again after the sample's own. Texts that need no brain are generated
    once.

    Parameters
    ----------
    decoder : BrainDecoder
    brains : mapping
        Name to brains in the decoder's input format: ``"true brain"`` and the controls
        ``"phase-randomised brain"``, ``"noise brain"``, ``"zero brain"``. Each has one brain per
        sample, in the order of `truth`; a control may have a single brain for all samples.
    truth : sequence of str, (N,)
    partners : ndarray, (R, N) int64
        From :func:`derangements`.
    blocks : sequence, (N,)
        Block of each sample, for instance its run: the unit of intervals and sign flips.
    prompts : sequence of str or sequence of int, (N,), optional
        Text before each sample's text: its question, or the words of a story that it continues;
        or the tokens of that text.
        Equal texts are scored once only if their prompts are equal too.
    train_texts : sequence of str, (M,), optional
        Training texts, for the majority, template and nearest training text.
    train_prompts : sequence of str, (M,), optional
        Text before each training text: the three are then chosen among the training texts with the
        sample's own prompt, if there are any.
    train_brains : optional
        Brains (M,) of the training texts, for the nearest training text.

    Returns
    -------
    Conditions

    Raises
    ------
    InputError
        Sizes differ, or the true brain is missing.
    """
    n = len(truth)
    if TRUE not in brains or partners.ndim != 2 or partners.shape[1] != n or len(blocks) != n:
        raise InputError(
            f"run_controls: brains must hold {TRUE!r}, partners be (R, {n}) and blocks ({n},), got "
            f"{sorted(brains)}, {partners.shape} and {len(blocks)}."
        )
    for what, given, size in (
        ("prompts", prompts, n),
        ("train_prompts", train_prompts, len(train_texts)),
    ):
        if given and len(given) != size:
            raise InputError(f"run_controls: {what} must be all {size}, got {len(given)}.")
    # here prompts only tell which samples share one
    labels = tuple(p if isinstance(p, str) else str(tuple(p)) for p in prompts)
    # a likelihood depends on the brain and on this key
    keys = list(zip(labels, truth, strict=True)) if labels else list(truth)
    own = decoder.read(brains[TRUE])
    _one_or_all(TRUE, len(own), n, single=n == 1)
    pairs = needed_pairs(partners, keys)
    true, deranged = pairs.gather(decoder.score(own, truth, pairs.index))
    found = [
        Control(TRUE, tuple(decoder.write(own)), true),
        _deranged(decoder, own, partners, deranged, labels),
    ]
    for name in brains:
        if name != TRUE:
            found.append(_run(decoder, name, decoder.read(brains[name]), truth, keys))
    found += _without_brain(decoder, truth, keys)
    if train_texts:
        found += _from_training(decoder, own, labels, train_texts, train_prompts, train_brains)
    return Conditions(
        tuple(truth),
        partners,
        tuple(map(str, blocks)),
        {control.name: control for control in found},
        labels,
    )


def _deranged(
    decoder: BrainDecoder,
    own: Any,
    partners: npt.NDArray[np.int64],
    nll: npt.NDArray[np.float64],
    prompts: Sequence[str],
) -> Control:
    note = f"{len(partners)} derangements; each takes the text decoded from the partner's brain"
    if not prompts or same_prompts(prompts, partners):
        return Control(DERANGED, None, nll, note)
    note = f"{len(partners)} derangements; texts of the first, decoded after each own prompt"
    return Control(DERANGED, tuple(decoder.write(own[partners[0]])), nll, note)


def _run(
    decoder: BrainDecoder,
    name: str,
    prefixes: Any,
    truth: Sequence[str],
    keys: Sequence[Hashable],
) -> Control:
    n = len(truth)
    _one_or_all(name, len(prefixes), n, single=True)
    said = decoder.write(prefixes)
    shared = len(prefixes) == 1
    brain = np.zeros(n, dtype=np.int64) if shared else np.arange(n)
    first: dict[Hashable, int] = {}
    text = np.array([first.setdefault(key, i) for i, key in enumerate(keys)])
    # equal texts after one prefix are scored once
    pairs, where = np.unique(np.stack([brain, text], axis=1), axis=0, return_inverse=True)
    nll = decoder.score(prefixes, truth, pairs)[where.reshape(-1)]
    return Control(name, tuple(said * n if shared else said), nll)


def _one_or_all(name: str, got: int, n: int, *, single: bool) -> None:
    if got != n and not (single and got == 1):
        raise InputError(
            f"run_controls: {name!r} must be {'one brain or ' if single else ''}{n} brains, one a "
            f"sample, got {got}."
        )


def _without_brain(
    decoder: BrainDecoder, truth: Sequence[str], keys: Sequence[Hashable]
) -> list[Control]:
    alone = _run(decoder, "prompt alone", decoder.read_nothing(), truth, keys)
    context = decoder.untuned()
    if context is None:
        note = "the language model was not tuned: the same as 'prompt alone'"
        return [alone, Control("untuned model", alone.texts, alone.nll, note)]
    with context:
        # embeddings may be tuned too, so the prompt is read again
        return [alone, _run(decoder, "untuned model", decoder.read_nothing(), truth, keys)]


def _from_training(
    decoder: BrainDecoder,
    own: Any,
    prompts: Sequence[str],
    train_texts: Sequence[str],
    train_prompts: Sequence[str],
    train_brains: Any,
) -> list[Control]:
    n = len(own)
    asked = tuple(prompts) if prompts and train_prompts else ("",) * n
    of_training = tuple(train_prompts) if prompts and train_prompts else ("",) * len(train_texts)
    features = bank = None
    if train_brains is not None:
        features, bank = decoder.features(own), decoder.features(decoder.read(train_brains))
    texts: dict[str, list[str]] = {
        "majority text": [""] * n, "template text": [""] * n, "nearest training text": [""] * n
    }  # fmt: skip
    for prompt in dict.fromkeys(asked):
        rows = [i for i, other in enumerate(asked) if other == prompt]
        known = [i for i, other in enumerate(of_training) if other == prompt]
        known = known or list(range(len(train_texts)))
        those = [train_texts[i] for i in known]
        said = {
            "majority text": [majority_text(those)] * len(rows),
            "template text": [template_text(those)] * len(rows),
        }
        if features is not None and bank is not None:
            said["nearest training text"] = nearest_training_texts(
                features[rows], bank[known], those
            )
        for name, written in said.items():
            for row, text in zip(rows, written, strict=True):
                texts[name][row] = text
    if train_brains is None:
        del texts["nearest training text"]
    return [Control(name, tuple(written)) for name, written in texts.items()]
