"""Configuration of what the language model reads before a question, and of the loss of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ..._arguments import checked
from ...errors import ConfigError
from ...nn.config_io import require


@checked(error=ConfigError)
@dataclass(frozen=True)
class WordsConfig:
    """Connectivity as words: components of the correlations between regions, in levels.

    Parameters
    ----------
    components : int
        Largest number of components; 0 gives no such words: the question then follows the codes.
    levels : int
        Levels of a component, a token each.
    copies : int
        Rows of words for each sequence of a person in an epoch.
    blend : bool
        Whether a row of training lies between its person and another, at a random place, with the
        answer that lies there. Labels are not blended.
    jitter : float
        Noise on the components of training people, in their standard deviations.
    """

    components: int = 32
    levels: int = 32
    copies: int = 4
    blend: bool = True
    jitter: float = 0.3

    def __post_init__(self) -> None:
        for name in ("components", "jitter"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
        require(self, "levels", self.levels >= 2, "be 2 or more")
        require(self, "copies", self.copies >= 1, "be 1 or more")


@checked(error=ConfigError)
@dataclass(frozen=True)
class NumberConfig:
    """Loss of answers in digits; see :func:`fastbrain.lm.number_odds.number_loss`.

    Parameters
    ----------
    sd : float
        Width of the soft targets, in the unit of the answers; 0 gives cross-entropy of the digits.
    mean_weight : float
        Weight of the squared error of the mean, over the variance of the training answers.
    """

    sd: float = 4.0
    mean_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("sd", "mean_weight"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
