"""What training a language model on codes is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...nn.config_io import from_dict, require, to_dict
from ...training.config import OptimConfig, StageConfig


@dataclass(frozen=True)
class VQLMConfig:
    """Autoencoder, shared vocabulary and tuning of :func:`train_vqlm`.

    Parameters
    ----------
    preset : {"fastbrain", "poster", "neurolm"}
        Of the autoencoder; see :func:`vq_preset`.
    small : bool
        Sizes for a CPU.
    coder_epochs : int or None
        Of the autoencoder; None: as the preset has it.
    domain : float or None
        Weight of the domain classifier; None: as the preset has it.
    llm : str or None
        Name or folder of a causal language model. None trains a small one, on sentences and on
        the question with random answers.
    target : str
        Column of the table that is asked for.
    kind : {"scale", "label"}
        A number, said in digits, or a label (a sex, a diagnosis), said in words.
    question : str
        Stands between the recording and the answer.
    places : int
        Digits of a number.
    steps : int
        Time steps of codes in a row.
    rank : int
        Of LoRA in the attention projections; 0 trains the whole language model. The tokens of the
        codes train in both.
    code_weight : float
        Next-code prediction against the answer.
    draws : int
        Rows of every person in an epoch, each from another part of the recording.
    image_steps : int
        Optimiser steps of the vision model that the series are shown to as a picture; 0: none.
    test_part, val_part : float
        Parts of the families that are scored, and that choose epochs and calibrate.
    tune : StageConfig
    seed : int
        Of the split and of everything that is drawn.
    """

    preset: str = "fastbrain"
    small: bool = True
    coder_epochs: int | None = None
    domain: float | None = None
    llm: str | None = None
    target: str = "age"
    kind: str = "scale"
    question: str = "how old is this person ?"
    places: int = 2
    steps: int = 24
    rank: int = 8
    code_weight: float = 0.1
    draws: int = 2
    image_steps: int = 200
    test_part: float = 0.3
    val_part: float = 0.15
    tune: StageConfig = field(
        default_factory=lambda: StageConfig(
            name="tune",
            epochs=15,
            batch_size=8,
            optim=OptimConfig(lr=3e-3, weight_decay=0.01, warmup_steps=10),
        )
    )
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("places", "steps", "draws"):
            require(self, name, getattr(self, name) >= 1, "be 1 or more")
        for name in ("rank", "code_weight", "image_steps"):
            require(self, name, getattr(self, name) >= 0, "be 0 or more")
        for name in ("test_part", "val_part"):
            require(self, name, 0 < getattr(self, name) < 1, "lie between 0 and 1")
        require(self, "test_part", self.test_part + self.val_part < 1, "leave people to train on")
        require(self, "kind", self.kind in ("scale", "label"), "be scale or label")
        epochs = self.coder_epochs
        require(self, "coder_epochs", epochs is None or epochs >= 1, "be 1 or more")
        require(self, "domain", self.domain is None or self.domain >= 0, "be 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VQLMConfig:
        """Build from a plain dict; an unknown key is a :class:`ConfigError`."""
        return from_dict(cls, values)
