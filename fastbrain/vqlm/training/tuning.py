"""Tuning stage of the fMRI language model: from codes and connectivity of people to answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..._io import folder_atomic
from ...lm.code_vocabulary import CodeVocabulary
from ...lm.digit_tokens import DigitTokens
from ...lm.number_lines import extend_number_lines
from ...nn.saved_folder import seal
from ...training.loop import fit
from ...training.processes import processes
from ...training.run import Row
from ...training.validation import mean_validation
from ..connectivity_words import ConnectivityWords, save_words
from ..question import Question
from .code_rows import CodeRows, RowLoader
from .config import VQLMConfig
from .language import adapted


@dataclass(frozen=True)
class Reading:
    """What the language model can read of each person.

    Parameters
    ----------
    codes : mapping of str to Tensor, (R, P) int64
        Empty for connectomes.
    features : mapping of str to ndarray, (F,)
        Connectivity, from the series decoded from the codes or from the connectome.
    regions : tuple of str
    """

    codes: Mapping[str, Tensor]
    features: Mapping[str, npt.NDArray[np.float64]]
    regions: tuple[str, ...]


def tune(
    llm: Any,
    tokenizer: Any,
    vocabulary: CodeVocabulary,
    reading: Reading,
    answers: Mapping[str, float] | Mapping[str, str],
    split: Mapping[str, Sequence[str]],
    config: VQLMConfig,
    *,
    steps: int,
    out: Path,
    resume: bool,
    fused: Callable[[Any], object] | None,
    on_epoch: Callable[[Row], None],
) -> None:
    """Fit the words of connectivity, tune the language model, and write ``words/`` and ``llm/``."""
    trained = split["train"]
    digits = None
    if config.kind == "scale":
        digits = DigitTokens.find(tokenizer, places=config.places)
    values: dict[str, Tensor] = {}
    lines = None
    if config.words.components:
        words = ConnectivityWords.fit(
            {p: reading.features[p] for p in trained},
            components=config.words.components,
            regions=reading.regions,
            source="series" if reading.codes else "connectomes",
        )
        with processes().first_alone() as first:
            if first:
                save_words(words, out / "words", replace=resume)
        values = {p: words.values(features) for p, features in reading.features.items()}
        lines = extend_number_lines(
            llm, tokenizer, len(words.scale), config.words.levels, seed=config.seed
        )
    question = Question(tokenizer, vocabulary, digits, config.question, lines)
    tuned = adapted(llm, vocabulary, config.rank, seed=config.seed)
    if fused is not None and config.rank:
        fused(tuned)

    def rows(part: str, shuffle: bool) -> RowLoader:
        return RowLoader(
            split[part],
            reading.codes,
            values,
            answers,
            question,
            steps=steps,
            batch_size=config.tune.batch_size,
            draws=config.draws,
            reading=config.words,
            shuffle=shuffle,
            seed=config.seed,
        )

    variance = 1.0
    if digits is not None:
        variance = float(np.var([float(answers[p]) for p in trained])) or 1.0
    objective = CodeRows(
        tuned,
        question,
        code_weight=config.code_weight,
        numbers=config.numbers,
        variance=variance,
    )
    fit(
        objective,
        rows("train", shuffle=True),
        replace(config.tune, seed=config.seed),
        run_dir=out / "tune",
        resume=resume,
        validate=mean_validation(objective, rows("val", shuffle=False)),
        best="answer_loss",
        on_epoch=on_epoch,
    )
    plain = tuned.merge_and_unload() if config.rank else tuned
    with processes().first_alone() as first:
        if first:
            with folder_atomic(out / "llm", replace=resume) as folder:
                plain.eval().save_pretrained(folder)
                tokenizer.save_pretrained(folder)
                seal(folder)
