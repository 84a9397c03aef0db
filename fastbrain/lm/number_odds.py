"""Distribution of a language model over numbers in digits, and a loss that grows with the distance.

Cross-entropy of digits counts 39 for 40 as wrong as 79. Soft targets and the squared error of the
mean count how far off a number is (Lukasik et al., "Better autoregressive regression with LLMs via
regression-aware fine-tuning", ICLR 2025; Zausinger et al., arXiv 2411.02083).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._arguments import checked
from ..errors import InputError
from .digit_tokens import DigitTokens
from .mixed_sequence import MixedSequence, additive, stair_step_mask


@dataclass(frozen=True)
class NumberOdds:
    """Log-probabilities of numbers; returned by :func:`number_log_odds`.

    Parameters
    ----------
    written : Tensor, (B, 10**places) float32
        Among all texts: the probabilities of a row sum to that of an answer in digits.
    allowed : Tensor, (B, 10**places) float32
        With every token restricted to the digits, the distribution of :func:`guess_number`.
    """

    written: Tensor
    allowed: Tensor


@checked
def number_log_odds(
    llm: Any, sequences: Sequence[MixedSequence], digits: DigitTokens
) -> NumberOdds:
    """Log-probabilities of all numbers that may follow each sequence, with gradients.

    One pass: the beginnings of all numbers follow a sequence as a tree, each token attending to the
    sequence and to the digits before it.

    Parameters
    ----------
    llm : PreTrainedModel
    sequences : sequence of MixedSequence
        Recordings with a question, up to the position of the number; of any lengths.
    digits : DigitTokens

    Raises
    ------
    InputError
        There is no sequence, or one is empty.
    """
    if not sequences or not all(len(s.ids) for s in sequences):
        raise InputError("number_log_odds: sequences must be one or more, none empty.")
    weight = llm.get_input_embeddings().weight
    longest = max(len(s.ids) for s in sequences)
    tree, depth, seen = _tree(digits)
    count = len(tree)
    ids = torch.full((len(sequences), longest + count), digits.ids[0])
    places = torch.zeros_like(ids)
    mask = torch.zeros(len(sequences), longest + count, longest + count, dtype=torch.bool)
    mask[:, torch.arange(longest), torch.arange(longest)] = True  # padding sees only itself
    mask[:, longest:, longest:] = seen
    for i, s in enumerate(sequences):
        start = longest - len(s.ids)  # padding comes first, so that all answers begin together
        ids[i, start:longest], ids[i, longest:] = s.ids, tree
        places[i, start:longest] = torch.arange(len(s.ids))
        places[i, longest:] = len(s.ids) + depth
        mask[i, start:longest, start:longest] = stair_step_mask(s.blocks)[0, 0]
        mask[i, longest:, start:longest] = True
    found = llm(
        input_ids=ids.to(weight.device),
        attention_mask=additive(mask[:, None], weight.dtype).to(weight.device),
        position_ids=places.to(weight.device),
        use_cache=False,
        logits_to_keep=1 + count,
    )
    written = found.logits.float().log_softmax(dim=-1)[..., list(digits.ids)]  # (B, 1 + count, 10)
    return NumberOdds(_joint(written, digits), _joint(written.log_softmax(dim=-1), digits))


def _joint(odds: Tensor, digits: DigitTokens) -> Tensor:
    """Sums over the places (B, 10**places) of digits after each beginning (B, 1 + N, 10)."""
    joint, before = odds[:, 0], 1
    for place in range(1, digits.places):
        following = odds[:, before : before + 10**place]
        joint = (joint[:, :, None] + following).flatten(1)
        before += 10**place
    return joint


def _tree(digits: DigitTokens) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (N,) of all beginnings of numbers, their depth (N,), and who sees whom (N, N)."""
    levels = [10**place for place in range(1, digits.places)]
    tree = torch.tensor(digits.ids).repeat(sum(levels) // 10)
    depth = torch.cat([torch.full((n,), i) for i, n in enumerate(levels)] or [tree.new_zeros(0)])
    seen = torch.eye(len(tree), dtype=torch.bool)
    first = 0
    for above, below in pairwise(levels):
        parent = first + torch.arange(below) // 10
        own = first + above + torch.arange(below)
        seen[own] |= seen[parent]
        first += above
    return tree, depth, seen


@checked
def number_loss(odds: NumberOdds, targets: Tensor, *, sd: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy with soft targets and squared error of the mean, averaged over sequences.

    Parameters
    ----------
    odds : NumberOdds
    targets : Tensor, (B,)
        Numbers; they need not be whole.
    sd : float
        Standard deviation of the normal distribution around a target by which numbers are
        weighted; 0 gives all weight to the nearest.

    Returns
    -------
    cross_entropy, squared_error : Tensor, () float32
        Nats, and squares of the unit of the targets.

    Raises
    ------
    InputError
        There is not one target for each sequence, or `sd` is negative.
    """
    count, size = odds.written.shape
    if targets.shape != (count,) or sd < 0:
        raise InputError(
            f"number_loss: targets must be ({count},) and sd 0 or more, got "
            f"{tuple(targets.shape)} and {sd}."
        )
    numbers = torch.arange(size, device=odds.written.device)
    targets = targets.to(odds.written)
    if sd:
        weight = (-((numbers - targets[:, None]) ** 2) / (2 * sd**2)).softmax(dim=1)
    else:
        nearest = targets.round().long().clamp(0, size - 1)
        weight = F.one_hot(nearest, size).to(odds.written)
    mean = (odds.allowed.softmax(dim=1) * numbers).sum(dim=1)
    return -(weight * odds.written).sum(dim=1).mean(), (mean - targets).square().mean()
