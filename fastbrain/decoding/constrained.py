"""Probabilities of answers from a restricted set: numbers in digits, and answers of a list.

Greedy decoding discards information: decoded ages concentrate on a few round numbers. The complete
distribution over the allowed answers gives a mean and a standard deviation.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._arguments import checked
from ..errors import InputError
from ..lm.digit_tokens import DigitTokens
from ..lm.mixed_sequence import MixedSequence, additive, stair_step_mask
from . import _checks


@dataclass(frozen=True)
class NumberGuess:
    """Summary of a model's distribution over numbers; returned by :func:`guess_number`.

    Parameters
    ----------
    mean, sd : float
        Mean and standard deviation over all numbers with the given places.
    likeliest : int
        The most probable number; it can differ from greedy decoding, which goes digit by digit.
    spelled : float
        Probability that the first token is a digit, without the restriction to digits.
    """

    mean: float
    sd: float
    likeliest: int
    spelled: float


@checked
@torch.no_grad()
def guess_number(llm: Any, sequence: MixedSequence, digits: DigitTokens) -> NumberGuess:
    """Compute the distribution over the numbers that may follow a sequence.

    Parameters
    ----------
    llm : PreTrainedModel
    sequence : MixedSequence
        Recording and question, up to the position of the number.
    digits : DigitTokens

    Returns
    -------
    NumberGuess
        Computed from all numbers with the given places: one pass over the sequence, then one pass
        per further place over its 10, 100, ... beginnings.

    Raises
    ------
    InputError
        The model has no key-value cache, a token is not in its vocabulary, sequence and answer
        exceed its context, or it predicts logits that are not finite.
    """
    known = _checks.language_model("guess_number", llm)
    for one in digits.ids:
        _checks.token("guess_number", "digits", one, known)
    logits, cache = _read("guess_number", llm, known, sequence, digits.places)
    device = logits.device
    ids = torch.tensor(digits.ids, device=device)
    odds = logits.softmax(dim=0)
    spelled = float(odds[ids].sum())
    joint = logits[ids].softmax(dim=0)  # grows to (10**places,), one factor of ten per place
    past = len(sequence.ids)
    for place in range(1, digits.places):
        # every beginning continues with its own copy of the cache
        cache.batch_repeat_interleave(10)
        last = ids.repeat(len(joint) // 10)
        found = llm(
            input_ids=last[:, None],
            position_ids=torch.full((len(last), 1), past + place - 1, device=device),
            past_key_values=cache,
            use_cache=True,
        )
        cache = found.past_key_values
        following = _checks.predicted("guess_number", found.logits[:, -1, ids].float())
        following = following.softmax(dim=1)
        joint = (joint[:, None] * following).flatten()
    numbers = torch.arange(len(joint), device=device, dtype=torch.float64)
    joint = joint.double() / joint.double().sum()
    mean = float((joint * numbers).sum())
    sd = float((joint * (numbers - mean) ** 2).sum().sqrt())
    return NumberGuess(mean, sd, int(joint.argmax()), spelled)


@checked
@torch.no_grad()
def answer_odds(
    llm: Any, sequence: MixedSequence, answers: Sequence[str], tokenizer: Any
) -> Tensor:
    """Probabilities (N,) float64 of the given answers, normalised to sum to one.

    Parameters
    ----------
    llm : PreTrainedModel
    sequence : MixedSequence
        Recording and question, up to the position of the answer.
    answers : sequence of str
        Answers of any lengths; the probability of an answer is the product over its tokens. No
        answer may be the beginning of another.
    tokenizer : PreTrainedTokenizer

    Raises
    ------
    InputError
        There are fewer than two answers, an answer is empty, begins another one or does not fit
        the context, or the model is refused as by :func:`guess_number`.
    """
    known = _checks.language_model("answer_odds", llm)
    if not hasattr(tokenizer, "encode"):
        raise InputError(
            f"answer_odds: tokenizer must be one of transformers, got {type(tokenizer).__name__}."
        )
    spelled = [tokenizer.encode(a, add_special_tokens=False) for a in answers]
    begins = [(a, b) for a in spelled for b in spelled if a is not b and b[: len(a)] == a]
    if len(answers) < 2 or not all(spelled) or begins:
        raise InputError(
            f"answer_odds: answers must be two or more, none of them empty or the beginning of "
            f"another, got {list(answers)}."
        )
    for one in {one for ids in spelled for one in ids}:
        _checks.token("answer_odds", "answers", one, known)
    logits, cache = _read("answer_odds", llm, known, sequence, max(map(len, spelled)))
    first = logits.double().log_softmax(dim=0)
    past, totals = len(sequence.ids), []
    for ids in spelled:
        total = first[ids[0]]
        if len(ids) > 1:
            feed = torch.tensor([ids[:-1]], device=logits.device)
            found = llm(
                input_ids=feed,
                position_ids=past + torch.arange(len(ids) - 1, device=logits.device)[None],
                past_key_values=copy.deepcopy(cache),
                use_cache=True,
            )
            steps = _checks.predicted("answer_odds", found.logits[0].double()).log_softmax(dim=1)
            rest = torch.tensor(ids[1:], device=steps.device)
            total = total + steps.gather(1, rest[:, None]).sum()
        totals.append(total)
    return torch.stack(totals).softmax(dim=0).cpu()


def _read(
    function: str, llm: Any, known: _checks.LanguageModel, sequence: MixedSequence, further: int
) -> tuple[Tensor, Any]:
    """Logits (V,) float32 after the last token, and the key-value cache."""
    ids = sequence.ids
    everywhere = torch.ones_like(ids, dtype=torch.bool)[None] if ids.ndim == 1 else None
    _checks.tokens(function, "sequence", ids[None], everywhere, known)
    _checks.room(function, known, len(ids), further)
    weight = known.embedding
    mask = additive(stair_step_mask(sequence.blocks), weight.dtype).to(weight.device)
    found = llm(
        input_ids=ids[None].to(weight.device),
        attention_mask=mask,
        use_cache=True,
        logits_to_keep=1,
    )
    logits = _checks.predicted(function, found.logits[0, -1].float())
    return logits, found.past_key_values
