"""Language part of the fMRI language model: training texts, LoRA and text embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...data.simulate.captions import draw_meanings
from ...lm.code_vocabulary import CodeVocabulary
from ...lm.lora import with_lora
from .autoencoder import TextSide
from .config import VQLMConfig


def corpus(config: VQLMConfig, labels: Sequence[str] = ()) -> list[str]:
    """Build a corpus for a small language model: sentences, and the question with random answers.

    Answers are drawn uniformly, so that the corpus does not reveal the distribution of the target.
    """
    rng = np.random.default_rng(config.seed)
    spoken = sorted({m.caption for m in draw_meanings(300, rng)})
    if config.kind == "label":
        return [*spoken, *(f"{config.question} {rng.choice(labels)}" for _ in range(300))]
    numbers = rng.integers(10**config.places, size=300)
    places = config.places
    asked = [f"{config.question} {' '.join(f'{int(n):0{places}d}')}" for n in numbers]
    # every digit is a separate word
    return [*spoken, *asked, f"{config.question} {' '.join('0123456789')}"]


def adapted(llm: Any, vocabulary: CodeVocabulary, rank: int, *, seed: int) -> Any:
    """Add LoRA to all linear layers and train the code tokens; rank 0 trains the whole model.

    Raises
    ------
    MissingPartError
        peft is not installed.
    """
    tokens = list(range(vocabulary.first, vocabulary.first + vocabulary.codes))
    tokens += [vocabulary.begin, vocabulary.end] if tokens else []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return with_lora(llm, rank, trainable_token_indices=tokens or None, task_type="CAUSAL_LM")


def text_side(llm: Any, tokenizer: Any, texts: list[str]) -> TextSide:
    """Build a TextSide from the token embeddings of a language model and the tokens of texts."""
    ids = [i for line in texts for i in tokenizer.encode(line, add_special_tokens=False)]
    embeddings = llm.get_input_embeddings().weight.detach().float().clone()
    return TextSide(embeddings, torch.tensor(ids))
