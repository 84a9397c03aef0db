"""Choice of the next token: options, repetition penalty, greedy and nucleus sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .._arguments import checked
from ..errors import ConfigError

METHODS = ("greedy", "sample", "beam")
# numbers of tokens that are ordered before all of a large vocabulary are
_PARTS = (256, 4096)
# quotients and products of logits stay finite in float32 within them
_FACTORS = (1e-3, 1e3)
# still a number of float32, and less than any likeliest token has
_LEAST_TOP_P = 1e-6


@checked(error=ConfigError)
@dataclass(frozen=True)
class Sampling:
    """Options of :func:`fastbrain.decoding.generate`.

    Parameters
    ----------
    method : {"greedy", "sample", "beam"}
    max_new_tokens, min_new_tokens : int
        Bounds on the number of generated tokens; the lower bound excludes the end token.
    beams : int
        Beam width (``method="beam"``).
    temperature, top_p : float
        Softmax temperature, 0.001 to 1000, and nucleus mass, 1e-6 to 1 (``method="sample"``).
    min_p : float
        Tokens less likely than `min_p` times the likeliest one are not drawn
        (``method="sample"``); 0 is off (Nguyen et al. 2024, arXiv 2407.01082).
    repetition_penalty : float
        Divides the positive and multiplies the negative logits of tokens already generated, 0.001
        to 1000; 1 is off. Tokens of the prompt are not penalised.
    length_penalty : float
        The score of a finished beam is its log probability over ``length ** length_penalty``; -10
        to 10.
    seed : int
        Seed of the sampler.
    """

    method: str = "greedy"
    max_new_tokens: int = 32
    min_new_tokens: int = 0
    beams: int = 5
    temperature: float = 1.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    seed: int = 0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"Sampling: method must be one of {METHODS}, got {self.method!r}.")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens or self.max_new_tokens < 1:
            raise ConfigError(
                "Sampling: 0 <= min_new_tokens <= max_new_tokens and max_new_tokens >= 1 must "
                f"hold, got {self.min_new_tokens} and {self.max_new_tokens}."
            )
        if self.beams < (2 if self.method == "beam" else 1):
            raise ConfigError(f"Sampling: beams must be >= 2 for a beam, got {self.beams}.")
        low, high = _FACTORS
        for name, off in (("temperature", "method='greedy'"), ("repetition_penalty", "1")):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"Sampling: {name} must be in [{low:g}, {high:g}], got {getattr(self, name)}. "
                    f"Use {off} for none."
                )
        if not _LEAST_TOP_P <= self.top_p <= 1:
            raise ConfigError(
                f"Sampling: top_p must be in [{_LEAST_TOP_P:g}, 1], got {self.top_p}. Use "
                "method='greedy' for the likeliest token."
            )
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"Sampling: min_p must be in [0, 1], got {self.min_p}.")
        if not -10 <= self.length_penalty <= 10:
            raise ConfigError(
                f"Sampling: length_penalty must be in [-10, 10], got {self.length_penalty}."
            )


def penalise_repetition(
    logits: torch.Tensor, generated: torch.Tensor, penalty: float
) -> torch.Tensor:
    """Make tokens that were already generated less likely.

    Parameters
    ----------
    logits : Tensor, (B, V)
    generated : Tensor, (B, T) int64
    penalty : float

    Returns
    -------
    Tensor, (B, V)
    """
    if penalty == 1.0 or generated.shape[1] == 0:
        return logits
    seen = logits.gather(1, generated)
    seen = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits.scatter(1, generated, seen)


def pick(logits: torch.Tensor, config: Sampling, generator: torch.Generator) -> torch.Tensor:
    """Choose one token per row, greedily or by nucleus sampling.

    Parameters
    ----------
    logits : Tensor, (B, V)
    config : Sampling
    generator : torch.Generator
        CPU generator, so that a seed gives the same random numbers on every device.

    Returns
    -------
    Tensor, (B,) int64
    """
    if config.method == "greedy":
        return logits.argmax(dim=-1)
    ordered, index = nucleus(logits, config)
    # a column for every token, so that the random numbers do not depend on the size of the nucleus
    padded = ordered.new_zeros(logits.shape)
    padded[:, : ordered.shape[1]] = ordered
    drawn = torch.multinomial(padded.cpu(), 1, generator=generator).to(index.device)
    return index.gather(1, drawn).squeeze(1)


def pick_at(logits: torch.Tensor, config: Sampling, uniform: torch.Tensor) -> torch.Tensor:
    """Choose one token per row; each row is drawn by its own number in [0, 1).

    A row's token depends on its logits and its number only.

    Parameters
    ----------
    logits : Tensor, (B, V)
    config : Sampling
    uniform : Tensor, (B,) float32
        Not used if the method is greedy.

    Returns
    -------
    Tensor, (B,) int64
    """
    if config.method == "greedy":
        return logits.argmax(dim=-1)
    ordered, index = nucleus(logits, config)
    mass = ordered.cumsum(dim=-1)
    # strictly above, so that a token without mass is never drawn
    drawn = torch.searchsorted(mass, uniform[:, None] * mass[:, -1:], right=True)
    last = (ordered > 0).sum(dim=-1, keepdim=True) - 1  # rounding may carry the product to the sum
    return index.gather(1, torch.minimum(drawn, last)).squeeze(1)


def draw(logits: torch.Tensor, config: Sampling, uniform: torch.Tensor) -> torch.Tensor:
    """Draw one token a row (B,) by numbers (B,) in [0, 1); without a nucleus nothing is sorted."""
    if config.method == "greedy" or config.top_p < 1 or config.min_p > 0:
        return pick_at(logits, config, uniform)
    mass = torch.softmax(logits / config.temperature, dim=1).cumsum(dim=1)
    drawn = torch.searchsorted(mass, uniform[:, None] * mass[:, -1:], right=True)
    return drawn[:, 0].clamp_max(logits.shape[1] - 1)


def nucleus(logits: torch.Tensor, config: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (B, K) in falling order, 0 outside top-p and min-p, and their tokens (B, K).

    K is the number of tokens that had to be ordered, at most V. Equal probabilities are in the
    order of their tokens, and the result is that of a stable sort of all V.
    """
    probability = torch.softmax(logits.float() / config.temperature, dim=-1)
    # a captured CUDA graph cannot look at the values, and a GPU sorts fast
    part = logits.device.type == "cpu" and (config.top_p < 1 or config.min_p > 0)
    return _ordered(probability, config, _PARTS if part else ())


def _ordered(
    probability: torch.Tensor, config: Sampling, counts: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`nucleus`; `counts` are the numbers of tokens to order before all are."""
    if not counts or 2 * counts[0] > probability.shape[1]:
        ordered, index = probability.sort(dim=-1, descending=True, stable=True)
        return ordered.masked_fill(_outside(ordered, config), 0.0), index
    value, index = probability.topk(counts[0], dim=-1)
    index = index.sort(dim=-1).values
    ordered, order = probability.gather(1, index).sort(dim=-1, descending=True, stable=True)
    index, out = index.gather(1, order), _outside(ordered, config)
    # tokens as likely as the last one may have been left out, and must not be in the nucleus
    open_ends = ((ordered == value[:, -1:]) & ~out).any(dim=1)
    ordered = ordered.masked_fill(out, 0.0)
    if not bool(open_ends.any()):
        return ordered, index
    # none of the tokens that are missing is likelier than the last one
    missing = (config.top_p - ordered[open_ends].sum(dim=1)) / value[open_ends, -1]
    reachable = counts[1:2] > (counts[0] + float(missing.median()),)
    more, tokens = _ordered(probability[open_ends], config, counts[1:] if reachable else ())
    whole = more.new_zeros(len(ordered), more.shape[1])
    names = tokens.new_zeros(whole.shape)
    whole[:, : counts[0]], names[:, : counts[0]] = ordered, index
    whole[open_ends], names[open_ends] = more, tokens
    return whole, names


def _outside(ordered: torch.Tensor, config: Sampling) -> torch.Tensor:
    # a token stays while the mass before it is below top_p, so the first always stays
    before = ordered.cumsum(-1) - ordered
    return (before >= config.top_p) | (ordered < config.min_p * ordered[:, :1])
