"""Choice of the decoder that a trained run is evaluated with, and what makes it impossible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .._arguments import checked
from .._environment import check_environment
from ..data import VoxelStore
from ..decoding import LineWriter, SentenceWriting
from ..decoding.sentences import WRITING
from ..decoding.sentences.editing import shared_words
from ..decoding.sentences.written import check_kept
from ..errors import ConfigError, InputError
from ..lm.loading import outline_llm
from ..lm.sentence_embeddings import SentenceEncoder
from ..lm.sources import find_model
from .metrics.bertscore import default_bert

Name = Literal["soft-prompt", "mixture", "retrieve", "edit"]
_OWN = ("retrieve", "edit")  # decoders with a language model of their own
_WORDS = {
    "mixture": "the decoder of the run times the evidence of a sentence read-out",
    "retrieve": "a frozen language model that writes towards a predicted sentence embedding",
    "edit": "a frozen language model that writes and edits towards a predicted sentence embedding",
}


@checked(error=ConfigError)
@dataclass(frozen=True)
class DecoderChoice:
    """Decoder to evaluate a run with.

    Parameters
    ----------
    name : {"soft-prompt", "mixture", "retrieve", "edit"}
        ``"soft-prompt"`` is the run as it was trained, ``"mixture"`` multiplies it with the
        evidence of a sentence read-out (:func:`fastbrain.decoding.fit_mixture`). ``"retrieve"``
        and ``"edit"`` fit a :class:`fastbrain.decoding.SentenceDecoder` on the training part.
    llm : str, optional
        Folder or name of the language model of ``"retrieve"`` and ``"edit"``. Default: that of the
        run.
    encoder : str, optional
        Folder or name of the sentence encoder of the read-out. Default: the packaged MiniLM.
    writing : SentenceWriting, optional
        Of ``"retrieve"`` and ``"edit"``. Default: that of
        :data:`fastbrain.decoding.sentences.WRITING`.
    samples : int
        Texts written without a brain, to normalise the evidence of ``"retrieve"`` and ``"edit"``.
    candidates : int
        Texts drawn for each brain by ``"mixture"``, and as many without a brain.
    components : int
        Most principal components of a volume, for the read-out of a run of LLM4Brain.
    kept : str or Path, optional
        Folder for sentences written by ``"retrieve"`` and ``"edit"``, to go on after an
        interruption.
    saved : str or Path, optional
        Folder that ``"retrieve"`` and ``"edit"`` are saved in once they are fitted; what it holds
        is replaced.

    Raises
    ------
    ConfigError
        The name is unknown, or an option is not of this decoder.
    """

    name: str = "soft-prompt"
    llm: str | None = None
    encoder: str | None = None
    writing: SentenceWriting | None = None
    samples: int = 512
    candidates: int = 16
    components: int = 256
    kept: str | Path | None = None
    saved: str | Path | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise ConfigError(
                f"DecoderChoice: name must be one of {get_args(Name)}, got {self.name!r}."
            )
        for option, least in (("samples", 32), ("candidates", 2), ("components", 1)):
            if getattr(self, option) < least:
                raise ConfigError(
                    f"DecoderChoice: {option} must be >= {least}, got {getattr(self, option)}."
                )
        for option, names in (
            ("llm", _OWN), ("writing", _OWN), ("kept", _OWN), ("saved", _OWN),
            ("encoder", ("mixture", *_OWN)),
        ):  # fmt: skip
            if getattr(self, option) is not None and self.name not in names:
                raise ConfigError(
                    f"DecoderChoice: {option} must be left out for {self.name!r}, got "
                    f"{getattr(self, option)!r}. It is for {' and '.join(map(repr, names))}."
                )

    @property
    def own(self) -> bool:
        """Whether the decoder uses nothing of the run but its store and its language model."""
        return self.name in _OWN

    @property
    def sentence_encoder(self) -> str:
        """Folder or name of the sentence encoder."""
        return default_bert()[0] if self.encoder is None else self.encoder

    def describe(self) -> str:
        """Words for a report; "" for the run as it was trained."""
        return "" if self.name == "soft-prompt" else f"{self.name}: {_WORDS[self.name]}"


def check_choice(
    choice: DecoderChoice,
    store: VoxelStore,
    *,
    questions: Sequence[str],
    tuned: bool,
    llm: Any,
    tokenizer: Any,
    function: str,
) -> None:
    """Raise if a run cannot be evaluated with a decoder; call it before the long work.

    Parameters
    ----------
    choice : DecoderChoice
    store : VoxelStore
    questions : sequence of str
        Question or prompt of each scored trial.
    tuned : bool
        Whether the run has tuned its language model.
    llm, tokenizer
        Language model of the run.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    InputError
        There are several questions, there are too few training runs or no validation texts, the
        texts are a closed set, or the language model or the encoder cannot be used.
    DiskError
        A folder of the decoder is not one, or cannot be written.
    MissingPartError
        The packaged sentence encoder is not installed.
    """
    if choice.name == "soft-prompt":
        return
    at = f"{function}: --decoder {choice.name}"
    if len(set(questions)) > 1:
        raise InputError(
            f"{at} must be used with one question for all windows, got {len(set(questions))}. "
            "Leave --decoder out."
        )
    runs = {store.by_id[t].run_id for t in store.split.train}
    if len(runs) < 2:
        raise InputError(
            f"{at} must have two training runs or more, to leave one out, got {len(runs)}. Leave "
            "--decoder out."
        )
    if choice.name == "mixture" and not store.split.val:
        raise InputError(
            f"{at} must have a validation part for its weights, got none. Use a split with one."
        )
    find_model(choice.sentence_encoder, function=function)
    encoder = SentenceEncoder(choice.sentence_encoder)
    if not choice.own:
        return
    if store.split.closed_set:
        raise InputError(
            f"{at} must be used on texts that are not those of training, which it never writes, "
            "got a closed set. Use soft-prompt or mixture."
        )
    if choice.llm is None and tuned:
        raise InputError(
            f"{at} must have a language model that was not tuned, got that of the run, which was. "
            "Name one: --llm MODEL."
        )
    check_kept(choice.kept, function=function)
    if choice.saved is not None:
        check_environment(choice.saved, function=function)
    if choice.llm is not None:
        find_model(choice.llm, function=function)
        llm, tokenizer = outline_llm(choice.llm)
    try:
        writer = LineWriter(llm, tokenizer)
    except InputError as error:
        given = "that of the run" if choice.llm is None else f"'{choice.llm}'"
        raise InputError(
            f"{at} must have a pretrained language model with a token for a line break, got "
            f"{given}, without one. Name another: --llm MODEL."
        ) from error
    if (choice.writing or WRITING[choice.name]).rounds:
        encoder.require_places()
        writer.require_places()
        shared_words(writer, encoder, [store.by_id[t].text for t in store.split.train])
