"""Baseline of the poster (figure 3): states of the fMRI encoder as the prefix of a language model.

The language model reads continuous features of the trained autoencoder instead of codes, then the
question, and writes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..._arguments import checked
from ...lm.lora import with_lora
from ..autoencoder import VQAutoencoder
from .allowed_answers import AllowedAnswers, answer_loss, answer_rows

_BATCH = 16


class EncoderPrefix(nn.Module):
    """Map from encoder states to prefix embeddings of the length of words.

    Parameters
    ----------
    dim : int
        Width of the encoder.
    words : Tensor, (V, d)
        Token embeddings of the language model.
    """

    scale: Tensor

    def __init__(self, dim: int, words: Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, words.shape[1]))
        # a linear layer of normalised inputs gives vectors of length sqrt(d / 3)
        length = words.detach().float().norm(dim=1).mean()
        self.register_buffer("scale", length * (3 / words.shape[1]) ** 0.5)

    def forward(self, states: Tensor) -> Tensor:
        """Map states (B, R, dim) to embeddings (B, R, d)."""
        return self.layers(states) * self.scale


@torch.no_grad()
def region_states(coder: VQAutoencoder, series: npt.NDArray[Any], frames: int) -> Tensor:
    """Encoder states of each region, averaged over the patches of a window: (W, R, dim) float32.

    Windows are those of training; a last window shorter than the others is used if it is the only
    one.
    """
    patch = coder.config.patch
    values = torch.tensor(np.asarray(series), dtype=torch.float32, device=coder.center.device)
    span = min(frames, values.shape[1] // patch * patch)
    starts = range(0, values.shape[1] - span + 1, span)
    parts = [coder.encode(coder.patches(values[None, :, s : s + span]))[0] for s in starts]
    return torch.stack([part.mean(dim=1).float().cpu() for part in parts])


@checked(least={"steps": 1})
def encoder_predictions(
    coder: VQAutoencoder,
    llm: Any,
    tokenizer: Any,
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
    """Train prefix and language model on the training people; predict for all people.

    Parameters
    ----------
    coder : VQAutoencoder
        Trained on the same people; it is frozen.
    llm : PreTrainedModel
        A causal language model without codes; it is changed in place.
    tokenizer : PreTrainedTokenizer
    series : mapping of str to ndarray, (R, T)
        Series by person.
    target : mapping of str to float or str
        Target by person; only targets of people in `train` are used.
    train : sequence of str
    question : str
    answers : AllowedAnswers
    frames : int
        Frames of a window of the autoencoder. A prefix has one state for each region, the mean over
        the window; training windows are drawn at random, a prediction is the mean over windows.
    steps : int
        Optimiser steps of 16 windows.
    rank : int
        Rank of LoRA in all linear layers; 0 trains the whole language model.
    seed : int

    Returns
    -------
    dict of str to float or list of float
        By person: the mean over the allowed numbers, or the probability of each label.
    """
    device = coder.center.device
    states = {person: region_states(coder, values, frames) for person, values in series.items()}
    asked = torch.tensor(tokenizer.encode(question, add_special_tokens=False), device=device)
    rng = np.random.default_rng(seed)
    llm = llm.to(device)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        tuned = with_lora(llm, rank)
        words = tuned.get_input_embeddings()
        prefix = EncoderPrefix(coder.config.dim, words.weight).to(device)

        def logits(seen: Tensor, ids: Tensor) -> Tensor:
            text = words(torch.cat([asked.expand(len(ids), -1), ids.to(device)], dim=1))
            rows = torch.cat([prefix(seen.to(device)).to(text.dtype), text], dim=1)
            return tuned(inputs_embeds=rows, use_cache=False).logits

        weights = [*prefix.parameters(), *(p for p in tuned.parameters() if p.requires_grad)]
        optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=steps)
        tuned.train()
        for _ in range(steps):
            people = [train[i] for i in rng.integers(len(train), size=_BATCH)]
            seen = torch.stack([states[p][int(rng.integers(len(states[p])))] for p in people])
            ids, labels = answer_rows([answers.of(target[p]) for p in people])
            loss = answer_loss(logits(seen, ids), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
    tuned.eval()
    predictions: dict[str, Any] = {}
    for person, windows in states.items():
        odds = [
            answers.odds(lambda ids, w=one: logits(w.expand(len(ids), -1, -1), ids)[:, -1])  # type: ignore[misc]
            for one in windows
        ]
        predictions[person] = answers.expected(odds)
    return predictions
