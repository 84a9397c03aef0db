"""Decode engine: text from brain embeddings with a static cache that is rewound to a prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from .. import _checks
from .._checks import EndTokens
from ..sampling import Sampling
from .beam import search
from .cache import Prefix
from .candidates import score_candidates
from .constraints import Constraint
from .core import EngineCore
from .inputs import check_callable, check_room, seeds_of
from .objections import reason_against
from .result import EngineResult, TokenEvent
from .sequential import Options, write

_LOOK_EVERY = 8  # tokens between two looks at a GPU


class DecodeEngine(EngineCore):
    """Low-latency generation and scoring with a causal language model of Hugging Face.

    Keys and values are kept in a static cache. A text prefix is read once; each call reads only
    what follows it and rewinds the cache to it. Weights are read where the model holds them: make
    the engine anew after changing a model.

    Parameters
    ----------
    llm : PreTrainedModel
        Llama, Mistral, Qwen 2 or 3, Gemma 1 to 3 or GPT-2, also with low-rank adapters of PEFT or
        of :mod:`fastbrain.nn` on its linear layers; see :meth:`can_run`.
    tokenizer : PreTrainedTokenizer, optional
        For prefixes and candidates given as text, the default end tokens, and the text of events.
    max_tokens : int
        Positions of a row of the cache: prefix, input and new tokens.
    batch : int
        Rows that are held from the start; a call that needs more makes room for them.

    Raises
    ------
    InputError
        :meth:`can_run` has a reason, `max_tokens` exceeds the context of the model, or the logits
        differ from those of the model.
    """

    @staticmethod
    def can_run(llm: Any) -> str | None:
        """Return None, or the reason why the engine cannot run a model.

        The callers of :func:`fastbrain.decoding.generate` can keep to it then.

        Raises
        ------
        InputError
            It is not a causal language model with a key-value cache.
        """
        _checks.language_model("DecodeEngine.can_run", llm)
        return reason_against(llm)

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | Sequence[Tensor],
        *,
        sampling: Sampling | None = None,
        prefixes: Sequence[Prefix | None] | None = None,
        attention_mask: Tensor | None = None,
        eos_token_id: EndTokens | str = "tokenizer",
        logit_bias: Tensor | None = None,
        constraint: Constraint | None = None,
        seeds: Sequence[int] | None = None,
        on_token: Callable[[TokenEvent], Any] | None = None,
        cancelled: Callable[[], bool] | None = None,
        log_probability: bool = False,
    ) -> EngineResult:
        """Write a text after each row of inputs.

        Parameters
        ----------
        inputs : Tensor (B, S, d), or sequence of Tensor (S_i, d)
            Embeddings after the prefix: brain tokens and what follows them.
        sampling : Sampling, optional
            Default: greedy, at most 32 tokens.
        prefixes : sequence of Prefix or None, optional
            One for each row; default: that of :meth:`set_prefix` for all.
        attention_mask : Tensor, (B, S) int64 or bool, optional
            Positions where it is 0 are left out.
        eos_token_id : int, sequence of int, Tensor, None, or "tokenizer"
            End tokens; None never ends early.
        logit_bias : Tensor, (B, V), optional
        constraint : Constraint, optional
            :class:`PhraseList`, :class:`Grammar`, or another object with these methods.
        seeds : sequence of int, optional
            One for each row; default: that of `sampling` for all. A row's text depends on its own
            input and seed, and not on the other rows.
        on_token : callable, optional
            Called with a :class:`TokenEvent` for each token (not by beam search).
        cancelled : callable, optional
            Asked before each token; true ends the call with the tokens so far.
        log_probability : bool
            Whether to compute log probabilities.

        Returns
        -------
        EngineResult

        Raises
        ------
        InputError
            An argument breaks its contract, a row does not fit the cache, or the model predicts
            logits that are not finite.
        """
        name, begin = "DecodeEngine.generate", perf_counter()
        sampling = Sampling() if sampling is None else sampling
        if not isinstance(sampling, Sampling):
            raise InputError(f"{name}: sampling must be a Sampling or None, got {sampling!r}.")
        rows, before = self._opening(name, inputs, attention_mask, prefixes)
        for embeds, prefix in zip(rows, before, strict=True):
            held = 0 if prefix is None else len(prefix)
            check_room(name, self.max_tokens, held + len(embeds), sampling.max_new_tokens)
        ends = self._ends(name, eos_token_id)
        if logit_bias is not None:
            never = ends if sampling.min_new_tokens else ()
            logit_bias = _checks.bias(name, logit_bias, len(rows), self._known, never=never)
        texts = self._texts(name, constraint, sampling, ends)
        check_callable(name, on_token=on_token, cancelled=cancelled)
        seed = seeds_of(name, seeds, len(rows), sampling.seed)
        if not rows:
            return EngineResult((), (), () if log_probability else None, 0.0, 0.0)
        tokenizer = self.tokenizer if on_token is not None else None
        options = Options(
            sampling, ends, seed, logit_bias, texts, on_token, cancelled, log_probability, tokenizer
        )
        with self._alone():
            if sampling.method == "beam":
                return search(self._rows, rows, before, options, begin)
            self._rows.need(len(rows))
            opened = zip(range(len(rows)), before, rows, strict=True)
            logits = torch.stack([self._rows.open(*one) for one in opened])
            if self._device_loop and constraint is None and on_token is None:
                loop = self._loops.of(self._rows.cache, len(rows), sampling)
                done, first = loop.run(logits, options, _LOOK_EVERY)
            else:
                done, first = write(self._rows, logits, options)
        end = perf_counter()
        return EngineResult(
            tuple(tuple(one.tokens) for one in done),
            tuple(one.finish for one in done),
            tuple(one.total for one in done) if log_probability else None,
            first - begin,
            end - begin,
        )

    @torch.no_grad()
    def score(
        self,
        inputs: Tensor | Sequence[Tensor],
        candidates: Sequence[str] | Sequence[Sequence[int]],
        *,
        prefixes: Sequence[Prefix | None] | None = None,
        attention_mask: Tensor | None = None,
        logit_bias: Tensor | None = None,
    ) -> Tensor:
        """Negative log likelihood of every candidate after every row of inputs.

        All candidates of a row are read in one pass, in which a beginning that several share is
        read once.

        Parameters
        ----------
        inputs, prefixes, attention_mask, logit_bias
            As in :meth:`generate`.
        candidates : sequence of str or of sequence of int
            Texts are tokenized as answers, with the end token; token ids are taken as they are.

        Returns
        -------
        Tensor, (B, M) float64
            Nats, summed over the tokens of a candidate.

        Raises
        ------
        InputError
            As :meth:`generate`, or a candidate is empty.
        """
        name = "DecodeEngine.score"
        texts = self._candidates(name, candidates)
        rows, before = self._opening(name, inputs, attention_mask, prefixes)
        longest = max(map(len, texts))
        for embeds, prefix in zip(rows, before, strict=True):
            held = 0 if prefix is None else len(prefix)
            check_room(name, self.max_tokens, held + len(embeds), longest)
        if logit_bias is not None:
            logit_bias = _checks.bias(name, logit_bias, len(rows), self._known)
        found = torch.empty(len(rows), len(texts), dtype=torch.float64, device="cpu")
        with self._alone():
            for i, (embeds, prefix) in enumerate(zip(rows, before, strict=True)):
                first = self._rows.open(0, prefix, embeds)
                bias = None if logit_bias is None else logit_bias[i]
                found[i] = score_candidates(self._rows, first, texts, bias)
        return found

    @torch.no_grad()
    def text_nll(self, ids: Sequence[int]) -> float:
        """Mean negative log likelihood of a text after its first token, read step by step.

        The step of the engine reads it, so that the cost of reduced weights can be measured.

        Parameters
        ----------
        ids : sequence of int
            Two or more tokens, BOS included where the model expects it.

        Returns
        -------
        float
            Nats per token.

        Raises
        ------
        InputError
            There are fewer than two tokens, one is not in the vocabulary, or they do not fit the
            cache.
        """
        name = "DecodeEngine.text_nll"
        listed = ids if isinstance(ids, (list, tuple)) else [ids]
        tokens = [_checks.token(name, "ids", one, self._known) for one in listed]
        if len(tokens) < 2:
            raise InputError(f"{name}: ids must be two or more tokens, got {len(tokens)}.")
        check_room(name, self.max_tokens, len(tokens), 0)
        total = 0.0
        with self._alone():
            self._rows.cache.rewind(0, None)
            for token, following in pairwise(tokens):
                logits = _checks.predicted(name, self._rows.step([0], [token]))
                total -= float(torch.log_softmax(logits[0].double(), dim=0)[following])
        return total / (len(tokens) - 1)
