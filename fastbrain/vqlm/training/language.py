"""The language side of a model that reads codes: the texts of a small one, and what adapts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...data.simulate.captions import draw_meanings
from ...errors import MissingPartError
from ...lm.code_vocabulary import CodeVocabulary
from .autoencoder import TextSide
from .config import VQLMConfig


def corpus(config: VQLMConfig, labels: Sequence[str] = ()) -> list[str]:
    """Sentences and the question with answers by chance, for a small language model.

    Answers are drawn evenly: how the target is distributed is not told.
    """
    rng = np.random.default_rng(config.seed)
    spoken = sorted({m.caption for m in draw_meanings(300, rng)})
    if config.kind == "label":
        return [*spoken, *(f"{config.question} {rng.choice(labels)}" for _ in range(300))]
    numbers = rng.integers(10**config.places, size=300)
    places = config.places
    asked = [f"{config.question} {' '.join(f'{int(n):0{places}d}')}" for n in numbers]
    # every digit is a word of its own
    return [*spoken, *asked, f"{config.question} {' '.join('0123456789')}"]


def adapted(llm: Any, vocabulary: CodeVocabulary, rank: int, *, seed: int) -> Any:
    """The model with LoRA in its attention, the tokens of codes free; whole for rank 0.

    Raises
    ------
    MissingPartError
        peft is not installed.
    """
    if not rank:
        return llm.requires_grad_(True)
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingPartError(
            "train_vqlm: rank must be 0 without peft. Install fastbrain[peft]."
        ) from error
    tokens = [vocabulary.begin, vocabulary.end]
    tokens += range(vocabulary.first, vocabulary.first + vocabulary.codes)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        trainable_token_indices=tokens,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(llm, config)


def text_side(llm: Any, tokenizer: Any, texts: list[str]) -> TextSide:
    """Frozen token embeddings of a language model, drawn as often as they occur in some texts."""
    ids = [i for line in texts for i in tokenizer.encode(line, add_special_tokens=False)]
    embeddings = llm.get_input_embeddings().weight.detach().float().clone()
    return TextSide(embeddings, torch.tensor(ids))
