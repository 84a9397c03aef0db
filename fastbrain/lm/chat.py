"""Answer questions with a text or video language model, without brain input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._arguments import checked
from ..errors import InputError
from .sources import find_model, load_processor, load_weights_of


@torch.no_grad()
def answer_texts(
    llm: Any, tokenizer: Any, questions: Sequence[str], *, max_tokens: int = 64
) -> list[str]:
    """Answer questions with a causal language model by greedy decoding.

    Parameters
    ----------
    llm : PreTrainedModel
    tokenizer : PreTrainedTokenizer
        Its chat template, if it has one, is applied to the questions.
    questions : sequence of str
    max_tokens : int

    Returns
    -------
    list of str
    """
    template = getattr(tokenizer, "chat_template", None)
    framed = [_chat(tokenizer, q) if template else q for q in questions]
    # a chat template already adds the special tokens
    rows = [tokenizer.encode(text, add_special_tokens=not template) for text in framed]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), int(tokenizer.pad_token_id), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    out = _generate(llm, max_tokens, tokenizer, input_ids=ids, attention_mask=mask)
    return [t.strip() for t in tokenizer.batch_decode(out, skip_special_tokens=True)]


@torch.no_grad()
def answer_clips(
    model: Any,
    processor: Any,
    clips: Sequence[Tensor],
    questions: Sequence[str],
    *,
    max_tokens: int = 64,
) -> list[str]:
    """Answer one question per clip with a video language model of transformers.

    Parameters
    ----------
    model : PreTrainedModel
        Any "image-text-to-text" model that accepts videos (LLaVA-OneVision, Qwen-VL, SmolVLM).
    processor : ProcessorMixin
        Processor of the model, with a chat template.
    clips : sequence of Tensor, (T, 3, H, W) float in [0, 1]
    questions : sequence of str
    max_tokens : int

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        The processor has no chat template.
    """
    if getattr(processor, "chat_template", None) is None:
        raise InputError(
            "answer_clips: processor must have a chat template, got none. Use a video model that "
            "was tuned on conversations."
        )
    answers = []
    # one clip at a time, because models differ in how they pad videos
    for clip, question in zip(clips, questions, strict=True):
        content = [{"type": "video"}, {"type": "text", "text": question}]
        framed = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        frames = (clip * 255).round().to(torch.uint8)
        inputs = processor(text=[framed], videos=[frames], return_tensors="pt")
        out = _generate(model, max_tokens, processor.tokenizer, **inputs)
        answers.append(processor.tokenizer.decode(out[0], skip_special_tokens=True).strip())
    return answers


@checked
def load_video_llm(name_or_path: str, *, device: str = "cpu") -> tuple[Any, Any]:
    """Load a frozen video language model with its processor; custom code is refused.

    Parameters
    ----------
    name_or_path : str
        Name on the hub, or a folder.
    device : str

    Returns
    -------
    model : PreTrainedModel
    processor : ProcessorMixin

    Raises
    ------
    InputError
        The model cannot be found or read, is refused, or needs a package that is not installed.
    """
    source = find_model(name_or_path, function="load_video_llm")
    processor = load_processor(source)
    model = load_weights_of(source, "AutoModelForImageTextToText")
    model.to(torch.device(device))
    return model.requires_grad_(False), processor


def _chat(tokenizer: Any, question: str) -> str:
    turns = [{"role": "user", "content": question}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _generate(model: Any, max_tokens: int, tokenizer: Any, **inputs: Any) -> Tensor:
    """Generate greedily and return only the new tokens (B, n)."""
    there = {k: v.to(model.device) for k, v in inputs.items()}
    pad = tokenizer.pad_token_id
    out: Tensor = model.generate(
        **there, max_new_tokens=max_tokens, do_sample=False, pad_token_id=pad
    )
    return out[:, there["input_ids"].shape[1] :]
