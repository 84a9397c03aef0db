"""Adapter that runs BrainLLM under the evaluation controls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..decoding import Sampling, mean_nll, score_pairs, score_steered
from ..decoding.opening import Opening
from ..decoding.texts import write_texts
from ..errors import InputError
from ..lm.shared_prompt import SharedPrompt
from ..lm.tokenization import encode_context, encode_continuations
from .model import BrainLLM

_ROWS = 64  # windows generated for in one batch
_DECIMALS = 5  # of nats per token: smaller differences are float32 rounding and must not break ties


@dataclass(frozen=True, eq=False)
class BrainRows:
    """Prefix embeddings, steering bias and feature vectors of N brain windows.

    Parameters
    ----------
    prefix : Tensor, (N, L, d_llm)
        Marks and brain tokens; L is 0 where the brain only steers.
    bias : Tensor, (N, V), or None
        Steering term added to the logits.
    vectors : ndarray, (N, D) float64
        Features by which brains are compared.
    """

    prefix: Tensor
    bias: Tensor | None
    vectors: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.prefix)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> BrainRows:
        bias = None if self.bias is None else self.bias[rows]
        return BrainRows(self.prefix[rows], bias, self.vectors[rows])


class BrainLLMDecoder:
    """Decoder interface of :func:`run_controls` for a BrainLLM.

    Parameters
    ----------
    model : BrainLLM
    prompts : sequence of str or sequence of int, (N,), optional
        Text that precedes each sample's text when a story is continued, or its tokens, which the
        language model reads unaltered; pass the same prompts to :func:`run_controls`. A single
        prompt of tokens, such as examples of texts, is that of all samples;
        :func:`run_controls` then needs none. It is computed once a batch if no brain token
        precedes it. Default: none.
    sampling : Sampling, optional
        Default: greedy, at most 32 tokens.
    max_prompt_tokens, max_text_tokens : int
        A longer prompt loses its oldest tokens, unless it was given as tokens; a longer text
        raises an error.
    end : bool
        Whether texts are followed by the end token, as in training.
    rows_at_once : int
        Maximum number of rows in one forward pass while scoring.
    engine : bool
        Whether the decode engine writes; see :func:`fastbrain.decoding.texts.choose_engine`.
    """

    def __init__(
        self,
        model: BrainLLM,
        *,
        prompts: Sequence[str | Sequence[int]] = (),
        sampling: Sampling | None = None,
        max_prompt_tokens: int = 64,
        max_text_tokens: int = 64,
        end: bool = True,
        rows_at_once: int = 256,
        engine: bool = False,
    ) -> None:
        self.model, self.sampling = model.eval(), sampling
        self.prompts = tuple(p if isinstance(p, str) else tuple(p) for p in prompts)
        # the prompt of all rows, where there is not one for each
        self._common: str | tuple[int, ...] = ""
        if len(self.prompts) == 1 and not isinstance(self.prompts[0], str):
            self._common, self.prompts = self.prompts[0], ()
        self.max_prompt_tokens, self.max_text_tokens = max_prompt_tokens, max_text_tokens
        self.end, self.rows_at_once, self.engine = end, rows_at_once, engine

    @torch.no_grad()
    def read(self, brains: Any) -> BrainRows:
        """Compute prefixes, steering biases and feature vectors of windows (N, t, k)."""
        windows = torch.as_tensor(brains, dtype=torch.float32).to(self.model.device)
        if windows.ndim != 3 or not len(windows):
            raise InputError(
                f"BrainLLMDecoder.read: brains must be (N >= 1, t, k), got {tuple(windows.shape)}."
            )
        bias = self.model.logit_bias(windows)
        vectors = self.model.words(windows) if self.model.speaks else windows
        return BrainRows(
            self.model.prefix(windows), bias, vectors.mean(dim=1).cpu().double().numpy()
        )

    @torch.no_grad()
    def read_nothing(self) -> BrainRows:
        """Return the marks without a brain, one row per prompt (or one row), and no steering."""
        prefix = self.model.no_brain(max(1, len(self.prompts)))
        bias = None
        if self.model.steer is not None:
            # the same scoring path as a brain, so that a brain with zero steering ties with it
            words = len(self.model.llm.get_output_embeddings().weight)
            bias = torch.zeros(len(prefix), words, device=prefix.device)
        return BrainRows(prefix, bias, np.zeros((len(prefix), 1)))

    @torch.no_grad()
    def write(self, prefixes: BrainRows) -> list[str]:
        """Generate text freely from every brain, each after its own prompt."""
        if self.prompts and len(prefixes) != len(self.prompts):
            raise InputError(
                f"BrainLLMDecoder.write: prefixes must be one a prompt, {len(self.prompts)}, got "
                f"{len(prefixes)}."
            )
        texts: list[str] = []
        for rows in torch.arange(len(prefixes)).split(_ROWS):
            before, mask, after = self._before(prefixes.prefix[rows], rows)
            if mask is not None and not bool(mask[:, -1].all()):
                before, mask = _padded_left(before, mask)  # an empty prompt is padding alone
            shared = 0 if after is None else len(after)
            longest = (self.sampling or Sampling()).max_new_tokens
            self.model.check_room(shared + before.shape[1], longest)
            texts += write_texts(
                self.model.llm,
                self.model.text_tokenizer,
                before,
                sampling=self.sampling,
                engine=self.engine,
                attention_mask=None if mask is None else mask.long(),
                logit_bias=None if prefixes.bias is None else prefixes.bias[rows],
                after=after,
            )
        return texts

    @torch.no_grad()
    def opening(self, prefixes: BrainRows) -> Opening:
        """Return what the language model reads before the texts, each after its own prompt."""
        before, mask, after = self._before(prefixes.prefix, torch.arange(len(prefixes)))
        return Opening(before, mask, prefixes.bias, None if after is None else after.ids)

    @torch.no_grad()
    def score(
        self, prefixes: BrainRows, texts: Sequence[str], pairs: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Teacher-forced mean negative log likelihood (K,) of (brain, text) pairs (K, 2).

        Text j always follows prompt j, whichever brain it is paired with.
        """
        if self.prompts and len(texts) != len(self.prompts):
            raise InputError(
                f"BrainLLMDecoder.score: texts must be one a prompt, {len(self.prompts)}, got "
                f"{len(texts)}."
            )
        ids, mask = self._encoded(texts)
        wanted = torch.from_numpy(pairs)
        if not self.prompts and prefixes.prefix.shape[1] == 0 and prefixes.bias is not None:
            before, _, after = self._before(prefixes.prefix[:1], torch.zeros(1, dtype=torch.long))
            shared = 0 if after is None else len(after)
            self.model.check_room(shared + before.shape[1], ids.shape[1])
            # only brains and texts that occur in the pairs are scored
            brains, brain_of = wanted[:, 0].unique(return_inverse=True)
            named, text_of = wanted[:, 1].unique(return_inverse=True)
            total = score_steered(
                self.model.llm,
                before,
                ids[named],
                mask[named],
                prefixes.bias[brains],
                after=after,
            )
            each = total[brain_of, text_of] / mask.sum(dim=1)[wanted[:, 1]]
            return each.cpu().double().numpy().round(_DECIMALS)
        parts = [self._score(prefixes, ids, mask, part) for part in wanted.split(16 * _ROWS)]
        return torch.cat(parts).cpu().double().numpy().round(_DECIMALS)

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens by which texts are scored, with the end token if training had it."""
        ids, mask = self._encoded(texts)
        return [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)]

    def _encoded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        prompts = self.prompts or (self._common,)
        if len(set(prompts)) == 1:
            prompts = prompts[:1] * len(texts)  # of a session, texts are more than its prompt
        tokenizer = self.model.text_tokenizer
        return encode_continuations(
            tokenizer,
            list(texts),  # the tokenizer needs a list of str, not an array
            max_tokens=self.max_text_tokens,
            end=self.end,
            spaces=self.model.layout.spaces(tokenizer, prompts),
            device=self.model.device,
        )

    def _score(self, prefixes: BrainRows, ids: Tensor, mask: Tensor, pairs: Tensor) -> Tensor:
        # the prefix is brain and prompt; without prompts all texts of a brain share one prefix
        prompt = pairs[:, 1] if self.prompts else torch.zeros_like(pairs[:, 1])
        fronts, front_of = torch.stack([pairs[:, 0], prompt], 1).unique(dim=0, return_inverse=True)
        before, before_mask, after = self._before(prefixes.prefix[fronts[:, 0]], fronts[:, 1])
        shared = 0 if after is None else len(after)
        self.model.check_room(shared + before.shape[1], ids.shape[1])
        nll = score_pairs(
            self.model.llm,
            before,
            ids,
            mask,
            torch.stack([front_of, pairs[:, 1]], dim=1),
            prefix_mask=before_mask,
            logit_bias=None if prefixes.bias is None else prefixes.bias[fronts[:, 0]],
            after=after,
            rows_at_once=self.rows_at_once,
        )
        return mean_nll(nll, mask[pairs[:, 1]])

    def features(self, prefixes: BrainRows) -> npt.NDArray[np.float64]:
        """Mean feature vector of every brain, (N, D)."""
        return prefixes.vectors

    def untuned(self) -> AbstractContextManager[None] | None:
        """Context manager that removes the marks before the text; None without a decoder."""
        return self.model.untuned() if self.model.speaks else None

    def _before(
        self, prefix: Tensor, prompt_rows: Tensor
    ) -> tuple[Tensor, Tensor | None, SharedPrompt | None]:
        """Embeddings before the text, their mask, and the prompt that all rows share, if any."""
        if self._common and not prefix.shape[1]:
            return self._after_common(len(prefix))
        prompts: list[str | tuple[int, ...]] = [self._common]
        if self.prompts:
            prompts = [self.prompts[i] for i in prompt_rows.tolist()]
        after_prompt = self.model.config.position == "after-prompt" and prefix.shape[1] > 0
        one = after_prompt and len(set(prompts)) == 1
        ids, mask = encode_context(
            self.model.text_tokenizer,
            prompts if len(prompts) == len(prefix) and not one else prompts[:1] * len(prefix),
            max_tokens=self.max_prompt_tokens,
            device=self.model.device,
        )
        if one:
            return self.model.after_prompt(prefix), None, self.model.shared_prompt(ids[0])
        before, before_mask = self.model.before_text(prefix, ids, prompt_mask=mask)
        return before, before_mask, None

    def _after_common(self, count: int) -> tuple[Tensor, Tensor | None, SharedPrompt | None]:
        """Last token (count, 1, d_llm) of the common prompt, and the prompt before it."""
        layout, llm = self.model.layout, self.model.llm
        ids, _ = encode_context(
            self.model.text_tokenizer, [self._common], max_tokens=0, device=self.model.device
        )
        ids = torch.cat([ids.new_tensor(layout.start), ids[0], ids.new_tensor(layout.turn)])
        last = llm.get_input_embeddings()(ids[-1:]).expand(count, 1, -1)
        return last, None, SharedPrompt(llm, ids[:-1]) if len(ids) > 1 else None


def _padded_left(embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move the padding of every row to its start; the order of all else stays."""
    order = mask.long().argsort(dim=1, stable=True)
    return embeddings.gather(1, order[..., None].expand_as(embeddings)), mask.gather(1, order)
