"""Baseline of the poster: a pretrained vision-language model on pictures of the series.

Any model that transformers loads with ``AutoModelForImageTextToText``, as it is or tuned with LoRA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..._arguments import checked
from ...errors import InputError, MissingPartError
from ...lm.lora import with_lora
from ...lm.sources import find_model, load_processor, load_weights_of
from .allowed_answers import AllowedAnswers, answer_loss, answer_rows
from .image_baseline import series_image

_BATCH = 4
_SIDE = 224  # pixels of a picture; the model's processor resizes it


@checked
def load_vlm(name: str, *, device: str = "cpu") -> tuple[Any, Any]:
    """Load a vision-language model and its processor; custom code and pickles are refused.

    Raises
    ------
    InputError
        There is no such model, it is not one for pictures and text, or its processor needs a
        package that is not installed.
    """
    source = find_model(name, function="load_vlm")
    model = load_weights_of(source, "AutoModelForImageTextToText")
    processor = load_processor(source)
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise InputError(
            f"load_vlm: '{name}' must have a processor of pictures and text, got "
            f"{type(processor).__name__}. Name another one (--vlm)."
        )
    return model.to(device), processor


def asked_with_picture(processor: Any, question: str) -> str:
    """Prompt of one picture and a question, by the chat template of the model if it has one."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        turn = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
    mark = getattr(processor, "image_token", None)
    if mark is None:
        raise InputError(
            f"vlm_predictions: the processor must have a chat template or an image token, got "
            f"neither in {type(processor).__name__}. Name another model (--vlm)."
        )
    return f"{mark}\n{question} "


@checked(least={"steps": 0})
def vlm_predictions(
    model: Any,
    processor: Any,
    series: Mapping[str, npt.NDArray[Any]],
    target: Mapping[str, float] | Mapping[str, str],
    *,
    train: Sequence[str],
    question: str,
    answers: AllowedAnswers,
    frames: int,
    steps: int,
    rank: int,
    seed: int = 0,
) -> dict[str, float] | dict[str, list[float]]:
    """Tune a vision-language model on the training people, if asked to; predict for all people.

    Parameters
    ----------
    model, processor
        From :func:`load_vlm`; the model is changed in place.
    series : mapping of str to ndarray, (R, T)
        Series by person.
    target : mapping of str to float or str
        Target by person; only targets of people in `train` are used, and none without steps.
    train : sequence of str
    question : str
    answers : AllowedAnswers
        Of the processor's tokenizer.
    frames : int
        Frames of a picture. Training pictures start at random frames; a prediction is the mean
        over consecutive pictures.
    steps : int
        Optimiser steps of four pictures; 0 leaves the model as it is.
    rank : int
        Rank of LoRA in all linear layers; 0 trains the whole model.
    seed : int

    Returns
    -------
    dict of str to float or list of float
        By person: the mean over the allowed numbers, or the probability of each label.
    """
    rng = np.random.default_rng(seed)
    prompt = asked_with_picture(processor, question)

    def shown(people: Sequence[str], starts: Sequence[int]) -> dict[str, Tensor]:
        pictures = [
            _as_image(series[p][:, s : s + frames]) for p, s in zip(people, starts, strict=True)
        ]
        made = processor(images=pictures, text=[prompt] * len(people), return_tensors="pt")
        return {name: value.to(model.device) for name, value in made.items()}

    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        tuned = with_lora(model, rank) if steps else model
        if steps:
            weights = [p for p in tuned.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(weights, lr=2e-4, weight_decay=0.01)
            tuned.train()
        for _ in range(steps):
            people = [train[i] for i in rng.integers(len(train), size=_BATCH)]
            lengths = [series[p].shape[1] for p in people]
            starts = [int(rng.integers(max(1, n - frames + 1))) for n in lengths]
            ids, labels = answer_rows([answers.of(target[p]) for p in people])
            found = tuned(**_continued(shown(people, starts), ids), use_cache=False)
            loss = answer_loss(found.logits, labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
    tuned.eval()
    predictions: dict[str, Any] = {}
    for person, values in series.items():
        odds = []
        for start in range(0, max(1, values.shape[1] - frames + 1), frames):
            seen = shown([person], [start])

            def following(ids: Tensor, seen: dict[str, Tensor] = seen) -> Tensor:
                rows = [
                    tuned(**_continued(seen, one[None]), use_cache=False).logits[0, -1]
                    for one in ids
                ]
                return torch.stack(rows)

            odds.append(answers.odds(following))
        predictions[person] = answers.expected(odds)
    return predictions


def _as_image(series: npt.NDArray[Any]) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPartError(
            "vlm_predictions: pillow is not installed. pip install pillow"
        ) from error
    shades = (series_image(series, _SIDE) * 255).round().to(torch.uint8)
    return Image.fromarray(shades.permute(1, 2, 0).contiguous().numpy())


def _continued(seen: Mapping[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
    """Inputs of a prompt with an answer after it.

    An input with an entry for each token (the attention mask, say) goes on with its last entry.
    """
    length, more = seen["input_ids"].shape[1], ids.shape[1]
    inputs = {
        name: torch.cat([value, value[:, -1:].expand(-1, more, *value.shape[2:])], dim=1)
        if value.ndim >= 2 and value.shape[1] == length and name != "pixel_values"
        else value
        for name, value in seen.items()
    }
    inputs["input_ids"] = torch.cat([seen["input_ids"], ids.to(seen["input_ids"])], dim=1)
    return inputs
