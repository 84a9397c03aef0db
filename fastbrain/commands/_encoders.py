"""Options for encoders of the user."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..llm4brain.training import RunConfig


@dataclass(frozen=True)
class EncoderOptions:
    """Options of the command that trains with an encoder of the user."""

    encoder: str | None = None
    """Class of an encoder in place of SC-MBM, package.module:Class; its code is imported and run
    (docs/llm4brain.md)."""
    encoder_arguments: str | None = None
    """JSON with further arguments of that class."""


@dataclass(frozen=True)
class TrustOptions:
    """Options of the commands that open a run with an encoder of the user."""

    trust_encoder: str | None = None
    """Class of the encoder of the run, package.module:Class: its code may be imported and run;
    needed for runs with --encoder."""

    def trust(self) -> None:
        """Allow the import of the named class."""
        if self.trust_encoder is not None:
            from ..llm4brain.custom_encoder import trust_encoder

            trust_encoder(self.trust_encoder)


def own_encoder(whole: RunConfig, config: EncoderOptions) -> RunConfig:
    """Put the encoder of a command line into a configuration, and allow its import."""
    if config.encoder is None:
        if config.encoder_arguments is not None:
            raise ConfigError("train: --encoder-arguments must come with --encoder.")
        return whole
    from ..llm4brain.custom_encoder import trust_encoder

    trust_encoder(config.encoder)
    named, arguments = whole.model.custom_encoder, None
    if config.encoder_arguments is not None:
        arguments = _json(config.encoder_arguments)
    elif named is not None and named.name == config.encoder:
        arguments = named.arguments
    return whole.with_encoder(config.encoder, arguments)


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"train: --encoder-arguments must be JSON, got '{text}': {error}.") from (
            error
        )
    if not isinstance(found, dict):
        raise ConfigError(f"train: --encoder-arguments must be a JSON object, got '{text}'.")
    return found
