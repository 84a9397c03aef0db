"""Configuration of the BrainLLM model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._arguments import checked
from ..errors import ConfigError
from ..lm.prompt_layout import LAYOUTS
from ..nn.config_io import from_dict, require, to_dict

DECODERS = ("mlp", "linear", "rnn", "big_mlp", "multi_mlp", "none")
PLACES = ("before-prompt", "after-prompt")


@checked(error=ConfigError)
@dataclass(frozen=True)
class BrainLLMConfig:
    """Sizes and options of :class:`BrainLLM` (arXiv 2311.09889).

    Parameters
    ----------
    features : int
        Components k of each volume; the paper uses 1,000.
    frames : int
        Maximum number of volumes t in a window; each volume becomes one token.
    decoder : {"mlp", "linear", "rnn", "big_mlp", "multi_mlp", "none"}
        Network from k components to the width of the language model; see :func:`brain_decoder`.
        With ``"none"`` no brain token precedes the text, and the brain acts through steering only.
    dropout : float
        Dropout rate after each hidden layer.
    additive_position : bool
        Whether a learned vector for each position in the window is added to the components.
    position : {"before-prompt", "after-prompt"}
        ``"before-prompt"`` is the layout of the paper, [BOS | brain | prompt | text]. With
        ``"after-prompt"`` the keys and values of a constant prompt are the same for every brain.
    steering : bool
        Whether a linear map of the window's mean is added to the language model's last hidden
        state, which makes related words likelier (not in the paper). The map starts at zero.
    depth : int
        Hidden layers of ``"mlp"``; the paper has two.
    width : int, optional
        Units of each hidden layer of ``"mlp"``. Default: `features`, as in the paper.
    layout : {"document", "chat", "bos", "none"}
        What the language model reads before and after the prompt; see
        :func:`fastbrain.lm.prompt_layout`.
    """

    features: int
    frames: int = 4
    decoder: str = "mlp"
    dropout: float = 0.5
    additive_position: bool = False
    position: str = "before-prompt"
    steering: bool = False
    depth: int = 2
    width: int | None = None
    layout: str = "document"

    def __post_init__(self) -> None:
        require(self, "features", self.features >= 1, "be 1 or more")
        require(self, "frames", self.frames >= 1, "be 1 or more")
        require(self, "decoder", self.decoder in DECODERS, f"be one of {DECODERS}")
        require(self, "dropout", 0.0 <= self.dropout < 1.0, "be in [0, 1)")
        require(self, "position", self.position in PLACES, f"be one of {PLACES}")
        mlp = self.decoder == "mlp"
        require(self, "depth", self.depth >= 1, "be 1 or more (0 is the decoder 'linear')")
        require(self, "depth", mlp or self.depth == 2, "be left out for a decoder other than mlp")
        require(self, "width", self.width is None or self.width >= 1, "be 1 or more")
        require(self, "width", mlp or self.width is None, "be left out for one other than mlp")
        require(self, "layout", self.layout in LAYOUTS, f"be one of {LAYOUTS}")
        require(self, "steering", self.steering or self.decoder != "none", "be on without decoder")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BrainLLMConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)
