"""Options of the decoder that a run is evaluated with."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError
from ._sampling import SamplingOptions

if TYPE_CHECKING:
    from ..evaluation.decoder_choice import DecoderChoice


@dataclass(frozen=True)
class DecoderOptions:
    """Choice of a decoder."""

    decoder: Literal["soft-prompt", "mixture", "retrieve", "edit"] = "soft-prompt"
    """Decoder that is scored: the run as it was trained; that times the evidence of a sentence
    read-out; or a frozen language model that writes (and edits) towards a predicted sentence
    embedding. All but the first are fitted now, and their results go to RUN/decoders/NAME."""
    llm: str | None = None
    """Language model of retrieve and edit, a folder or a name, e.g. smollm2; default: that of the
    run."""
    sentence_encoder: str | None = None
    """Sentence encoder of all decoders but soft-prompt, a folder or a name on the hub; default: the
    packaged MiniLM."""
    evidence_texts: int | None = None
    """Texts that retrieve and edit write without a brain to normalise likelihoods, at least 32;
    default: 512. Fewer are faster, and likelihoods less certain."""
    edit_seconds: float | None = None
    """Seconds of a sentence after which edit begins no further round; default: ten rounds, however
    long they take."""

    def choice(self, config: Any) -> DecoderChoice:
        """Convert the options to :class:`DecoderChoice`.

        Parameters
        ----------
        config : dataclass
            All options of the command.

        Raises
        ------
        ConfigError
            An option is of another decoder.
        """
        from ..decoding.sentences import WRITING
        from ..evaluation.decoder_choice import DecoderChoice

        name, own = self.decoder, ("retrieve", "edit")
        if self.llm is not None and name not in own:
            raise _wrong("llm", f"for --decoder {name}, which writes with that of the run")
        if self.evidence_texts is not None and name not in own:
            raise _wrong("evidence-texts", f"for --decoder {name}, which writes no such texts")
        if self.edit_seconds is not None and name != "edit":
            raise _wrong("edit-seconds", f"for --decoder {name}, which does not edit")
        if name == "soft-prompt":
            if self.sentence_encoder is not None:
                raise _wrong("sentence-encoder", "for --decoder soft-prompt, which has no read-out")
            return DecoderChoice()
        if getattr(config, "human_study", None) is not None:
            raise _wrong("human-study", f"for --decoder {name}: forms hold the texts of the run")
        if name in own:
            for option in ("engine", *(f.name for f in fields(SamplingOptions))):
                default = next(f.default for f in fields(config) if f.name == option)
                if option != "seed" and getattr(config, option) != default:
                    why = f"for --decoder {name}, which has settings of its own to write"
                    raise _wrong(option.replace("_", "-"), why)
        given: dict[str, Any] = {}
        if self.evidence_texts is not None:
            given["samples"] = self.evidence_texts
        if self.edit_seconds is not None:
            given["writing"] = replace(WRITING[name], seconds=self.edit_seconds)
        return DecoderChoice(name, llm=self.llm, encoder=self.sentence_encoder, **given)


def _wrong(option: str, why: str) -> ConfigError:
    return ConfigError(f"evaluate: --{option} must be left out {why}.")
