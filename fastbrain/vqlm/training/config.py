"""Configuration of the training of a language model on codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...nn.config_io import from_dict, require, to_dict
from ...training.config import OptimConfig, StageConfig
from .answer_config import NumberConfig, WordsConfig


@dataclass(frozen=True)
class VQLMConfig:
    """Configuration of :func:`train_vqlm`: autoencoder, shared vocabulary and tuning.

    Parameters
    ----------
    preset : str
        Preset of the autoencoder, see :func:`vq_preset`: "fastbrain", "poster", "neurolm", or the
        same name with "-small", at sizes for a CPU.
    coder_epochs : int or None
        Epochs of the autoencoder; None uses the value of the preset.
    domain : float or None
        Weight of the domain classifier; None uses the value of the preset.
    llm : str or None
        Name or folder of a causal language model. None trains a small one on sentences and on
        the question with random answers, which only the small presets allow.
    code_start : {"aligned", "rotated", "random"} or None
        Initial embeddings of the codes, all at the mean of the words and with their mean distance
        from it. "aligned": images of the codes under the map that the domain classifier aligns
        (:func:`code_images`, fitted on training people). "rotated": a random projection of the
        codebook. "random": random directions. None: "aligned" with a domain classifier, otherwise
        "rotated".
    target : str
        Column of the participants table to predict.
    kind : {"scale", "label"}
        A number, spelled in digits, or a label (a sex, a diagnosis), spelled in words.
    question : str
        Text between the recording and the answer.
    places : int
        Digits of a number.
    steps : int or None
        Time steps of codes in a sequence; None uses 24 for a small preset, otherwise one window of
        the autoencoder.
    rank : int
        Rank of LoRA in all linear layers; 0 trains the whole language model. The tokens of the
        codes are trained in both cases.
    code_weight : float
        Weight of next-code prediction relative to the answer.
    draws : int
        Sequences of each person in an epoch, from different parts of the recording.
    words : WordsConfig
        Connectivity as words, which the question then follows.
    numbers : NumberConfig
        Loss of answers in digits.
    image_steps : int
        Optimiser steps of a small vision model on pictures of the series; 0 skips this baseline.
    encoder_steps : int
        Optimiser steps of the initial language model on encoder states as a prefix (the poster's
        fMRI encoder with GPT-2); 0 skips this baseline.
    vlm : str or None
        Name or folder of a vision-language model that sees pictures of the series; any that
        ``AutoModelForImageTextToText`` loads. None skips this baseline.
    vlm_steps : int
        Optimiser steps of the vision-language model, with LoRA of `rank`; 0 uses it as it is.
    parts : str
        Column of the participants table with train, test or val for each person; empty draws the
        parts at random.
    test_part, val_part : float
        Fractions of the families in the test part and in the validation part, which chooses
        epochs and calibrates.
    tune : StageConfig
    seed : int
        Seed of the split and of all random draws.
    """

    preset: str = "fastbrain-small"
    coder_epochs: int | None = None
    domain: float | None = None
    llm: str | None = None
    code_start: str | None = None
    target: str = "age"
    kind: str = "scale"
    question: str = "how old is this person ?"
    places: int = 2
    steps: int | None = None
    rank: int = 8
    code_weight: float = 0.1
    draws: int = 2
    words: WordsConfig = field(default_factory=WordsConfig)
    numbers: NumberConfig = field(default_factory=NumberConfig)
    image_steps: int = 200
    encoder_steps: int = 200
    vlm: str | None = None
    vlm_steps: int = 200
    parts: str = ""
    test_part: float = 0.3
    val_part: float = 0.15
    tune: StageConfig = field(
        default_factory=lambda: StageConfig(
            name="tune",
            epochs=20,
            batch_size=8,
            optim=OptimConfig(lr=3e-3, weight_decay=0.01, warmup_steps=10),
        )
    )
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("places", "draws"):
            require(self, name, getattr(self, name) >= 1, "be 1 or more")
        require(self, "steps", self.steps is None or self.steps >= 1, "be 1 or more")
        starts = (None, "aligned", "rotated", "random")
        require(self, "code_start", self.code_start in starts, f"be one of {starts[1:]}")
        for name in ("rank", "code_weight", "image_steps", "encoder_steps", "vlm_steps"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
        for name in ("test_part", "val_part"):
            require(self, name, 0 < getattr(self, name) < 1, "lie between 0 and 1")
        require(self, "test_part", self.test_part + self.val_part < 1, "leave people to train on")
        require(self, "kind", self.kind in ("scale", "label"), "be scale or label")
        epochs = self.coder_epochs
        require(self, "coder_epochs", epochs is None or epochs >= 1, "be 1 or more")
        require(self, "seed", self.seed >= 0, "be 0 or more")
        require(self, "domain", self.domain is None or self.domain >= 0, "be 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VQLMConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)
