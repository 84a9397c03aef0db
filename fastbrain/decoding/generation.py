"""Generation from prefix embeddings with a key-value cache: greedy, sampling and beam search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..errors import InputError
from ..lm.attention_window import check_after, padded_left
from ..lm.shared_prompt import SharedPrompt
from . import _checks
from ._checks import EndTokens
from .beam_search import beam_search, forbid_end
from .sampling import Sampling, penalise_repetition, pick


@dataclass(frozen=True)
class Generation:
    """Generated tokens with lengths and log probabilities; returned by :func:`generate`.

    Parameters
    ----------
    tokens : Tensor, (B, T) int64
        Generated tokens without the end token, padded on the right.
    lengths : Tensor, (B,) int64
        Number of generated tokens in each row, without padding.
    log_probability : Tensor, (B,) float32
        Sum of the log probabilities of the generated tokens, the end token included.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    log_probability: torch.Tensor

    def texts(self, tokenizer: Any) -> list[str]:
        """Decode each row to text with a Hugging Face tokenizer."""
        return [
            tokenizer.decode(row[:n], skip_special_tokens=True).strip()
            for row, n in zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        ]


class _Stepper:
    """Language model with its cache: takes embeddings or tokens and returns the next logits."""

    def __init__(
        self,
        llm: Any,
        attention_mask: torch.Tensor,
        bias: torch.Tensor | None = None,
        after: SharedPrompt | None = None,
        function: str = "generate",
    ) -> None:
        self.llm, self.mask, self.bias, self.function = llm, attention_mask, bias, function
        self.cache: Any = None
        if after is not None:
            self.cache = after.rows(len(attention_mask))
            self.mask = torch.cat([after.mask(len(attention_mask)), attention_mask], dim=1)

    def prefill(self, inputs_embeds: torch.Tensor) -> torch.Tensor:
        if self.cache is None:
            inputs_embeds, self.mask = padded_left(self.llm, inputs_embeds, self.mask)
        return self._forward(inputs_embeds=inputs_embeds, fresh=inputs_embeds.shape[1])

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        return self._forward(input_ids=tokens[:, None], fresh=1)

    def reorder(self, rows: torch.Tensor) -> None:
        self.mask = self.mask[rows]
        self.bias = None if self.bias is None else self.bias[rows]
        self.cache.reorder_cache(rows)

    def _forward(self, *, fresh: int, **inputs: torch.Tensor) -> torch.Tensor:
        positions = (self.mask.cumsum(-1) - 1).clamp_min(0)[:, -fresh:]
        output = self.llm(
            **inputs,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = output.past_key_values
        logits: torch.Tensor = output.logits[:, -1].float()
        biased = logits if self.bias is None else logits + self.bias
        return _checks.predicted(self.function, biased)


@torch.no_grad()
def generate(
    llm: Any,
    inputs_embeds: torch.Tensor,
    *,
    eos_token_id: EndTokens,
    pad_token_id: int | None = None,
    sampling: Sampling | None = None,
    attention_mask: torch.Tensor | None = None,
    logit_bias: torch.Tensor | None = None,
    after: SharedPrompt | None = None,
) -> Generation:
    """Generate text after given embeddings.

    Parameters
    ----------
    llm : PreTrainedModel
        A decoder-only ``AutoModelForCausalLM`` with a key-value cache. Models with a recurrent
        state (Mamba, RecurrentGemma, Jamba and the like) are refused.
    inputs_embeds : Tensor, (B, S, d) float
        Brain tokens, prompt and all other input before the text; cast to the precision of the
        language model.
    eos_token_id : int, sequence of int, Tensor int64, or None
        Any of these tokens ends a text. None: every text has `max_new_tokens` tokens.
    pad_token_id : int, optional
        Padding after texts that ended earlier. Default: the first end token, or 0 without one.
    sampling : Sampling, optional
        Default: greedy, at most 32 tokens.
    attention_mask : Tensor, (B, S) int64 or bool, optional
        0 at padding, which must not be at the end. Default: nothing is padded.
    logit_bias : Tensor, (B, V), optional
        Added to the logits of every step of a row, for instance by steering.
    after : SharedPrompt, optional
        Cached prompt that precedes all rows.

    Returns
    -------
    Generation
        With a greedy choice and beam search, a row does not depend, up to rounding, on the other
        rows of the batch. A sampled row does: all rows draw in turn from one generator, so the
        draws of a row change with the size of the batch and the order of its rows.

    Raises
    ------
    InputError
        The model has no key-value cache, shapes or devices disagree, values are not finite, the
        padding is at the end, a token is not in the vocabulary, or context and `max_new_tokens`
        exceed the positions of the model; or padding follows `after` and the sequence exceeds a
        sliding window of the model. All this is checked before the first forward pass. Also raised
        if the model predicts logits that are not finite.
    """
    sampling = Sampling() if sampling is None else sampling
    if not isinstance(sampling, Sampling):
        raise InputError(
            f"generate: sampling must be a Sampling or None, got {type(sampling).__name__}."
        )
    if after is not None and not isinstance(after, SharedPrompt):
        raise InputError(
            f"generate: after must be a SharedPrompt or None, got {type(after).__name__}."
        )
    known = _checks.language_model("generate", llm)
    embeds = _checks.embeddings("generate", "inputs_embeds", inputs_embeds, known)
    ends = _checks.end_tokens("generate", eos_token_id, known)
    if pad_token_id is None:
        pad_token_id = ends[0] if ends else 0
    pad = _checks.token("generate", "pad_token_id", pad_token_id, known)
    if logit_bias is not None:
        never = ends if sampling.min_new_tokens else ()
        logit_bias = _checks.bias("generate", logit_bias, len(embeds), known, never=never)
    mask = _mask(attention_mask, embeds)
    before = embeds.shape[1] + (0 if after is None else len(after))
    _checks.room("generate", known, before, sampling.max_new_tokens)
    if after is not None:
        check_after("generate", llm, mask, before + sampling.max_new_tokens)
    if len(embeds) == 0:
        empty = torch.empty(0, dtype=torch.long, device=embeds.device)
        return Generation(empty.reshape(0, 0), empty, empty.float())
    stepper = _Stepper(llm, mask, logit_bias, after)
    end = torch.tensor(ends).to(embeds.device).long()
    if sampling.method == "beam":
        return Generation(*beam_search(stepper, stepper.prefill(embeds), sampling, end, pad))
    return _sequential(stepper, embeds, sampling, end, pad)


def _mask(given: Any, embeds: torch.Tensor) -> torch.Tensor:
    """Check the attention mask and return it as (B, S) int64."""
    if given is None:
        return embeds.new_ones(embeds.shape[:2], dtype=torch.long)
    integers = (torch.int64, torch.int32, torch.bool)
    if not _checks.is_dense(given, *integers) or given.shape != embeds.shape[:2]:
        raise InputError(
            f"generate: attention_mask must be int64 {tuple(embeds.shape[:2])}, got "
            f"{_checks.described(given)}."
        )
    mask: torch.Tensor = given.to(embeds.device).long()
    if bool(((mask != 0) & (mask != 1)).any()):
        raise InputError("generate: attention_mask must be 0 or 1, got other values.")
    if bool((mask[:, -1] == 0).any()):
        raise InputError("generate: attention_mask must end in 1 in every row. Pad on the left.")
    return mask


def _sequential(
    stepper: _Stepper, embeds: torch.Tensor, sampling: Sampling, ends: torch.Tensor, pad: int
) -> Generation:
    generator = torch.Generator().manual_seed(sampling.seed)
    logits, batch = stepper.prefill(embeds), len(embeds)
    tokens = torch.empty(batch, 0, dtype=torch.long, device=embeds.device)
    total = torch.zeros(batch, device=embeds.device)
    lengths = torch.zeros(batch, dtype=torch.long, device=embeds.device)
    running = torch.ones(batch, dtype=torch.bool, device=embeds.device)
    for step in range(sampling.max_new_tokens):
        logits = penalise_repetition(logits, tokens, sampling.repetition_penalty)
        logits = forbid_end(logits, step, sampling, ends)
        chosen = pick(logits, sampling, generator)
        log_probability = torch.log_softmax(logits, -1).gather(1, chosen[:, None])[:, 0]
        total += torch.where(running, log_probability, 0.0)
        running = running & ~torch.isin(chosen, ends)
        lengths += running
        tokens = torch.cat([tokens, torch.where(running, chosen, pad)[:, None]], dim=1)
        if not running.any() or step + 1 == sampling.max_new_tokens:
            break
        logits = stepper.step(tokens[:, -1])
    return Generation(tokens[:, : int(lengths.max())], lengths, total)
