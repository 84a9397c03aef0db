"""What the decode engine holds: network, cache and prefixes, with their checks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..._arguments import checked
from ...errors import BackendError, InputError
from ...lm.end_tokens import end_tokens_of
from ...lm.tokenization import encode_answers
from .. import _checks
from .._checks import EndTokens
from ..sampling import Sampling
from .architecture import read_architecture
from .cache import Prefix
from .constraints import ConstrainedTexts, Constraint
from .device_loop import DeviceLoops
from .few_rows import WEIGHTS, kernel_step, reason_against_kernel
from .inputs import check_prefixes, check_room, rows_of
from .network import Network
from .rows import Rows, torch_step

# largest relative difference of logits from those of the model
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}


class EngineCore:
    """Network, cache and prefixes of :class:`DecodeEngine`, which documents the arguments."""

    @checked(least={"max_tokens": 1, "batch": 1})
    @torch.no_grad()
    def __init__(
        self,
        llm: Any,
        tokenizer: Any = None,
        *,
        max_tokens: int = 512,
        batch: int = 1,
        weights: str = "model",
        step: str | None = None,
    ) -> None:
        self._known = _checks.language_model("DecodeEngine", llm)
        self._llm, self.tokenizer, self.max_tokens = llm, tokenizer, max_tokens
        net = read_architecture(llm)
        context = self._known.context
        if context is not None and max_tokens > context:
            raise InputError(
                f"DecodeEngine: max_tokens must be at most {context}, the context of the model, "
                f"got {max_tokens}."
            )
        network = Network(net, max_tokens)
        why = reason_against_kernel(net, weights)
        if weights not in WEIGHTS or step not in (None, "kernel", "torch"):
            raise InputError(
                f"DecodeEngine: weights must be one of {WEIGHTS} and step 'kernel', 'torch' or "
                f"None, got {weights!r} and {step!r}."
            )
        if why is None and step == "torch" and weights != "model":
            why = "the step of PyTorch reads the weights of the model"
        if why is not None and (step == "kernel" or weights != "model"):
            raise BackendError(
                f"DecodeEngine: step must be one that can run, got {step!r} with weights "
                f"{weights!r}: {why}. Leave both out for the step of PyTorch."
            )
        # the step of PyTorch finds the weights wherever they are
        self._moved: Callable[[], bool] = bool
        self.step_kind = "torch" if step == "torch" or why is not None else "kernel"
        if self.step_kind == "kernel":
            kernel, own = kernel_step(network, weights)
            self._moved, dtype = kernel.moved, torch.float32
        else:
            own, dtype = torch_step(network), net.dtype
        self._rows = Rows(network, own, batch, max_tokens, dtype)
        self._exact = weights == "model"
        self._prefix: Prefix | None = None
        # a GPU must not wait for the host after each token
        self._device_loop = net.device.type == "cuda"
        self._loops = DeviceLoops(network)
        self._user: int | None = None
        self._lock = threading.Lock()
        self._verify()

    def _verify(self) -> None:
        """Compare logits with those of the model, which a patched model would change."""
        net, generator = self._rows.net, torch.Generator("cpu").manual_seed(0)
        count = min(7, self.max_tokens)
        ids = torch.randint(net.vocabulary, (count,), generator=generator, device="cpu")
        ids = ids.to(net.device)
        rows = min(net.vocabulary, len(self._known.embedding))
        embeds = net.embed(ids % rows)
        expected = self._llm(inputs_embeds=embeds[None], use_cache=False).logits[0, -1].float()
        found = self._rows.open(0, None, embeds[:-1]) if count > 1 else None
        if found is None:
            found = self._rows.open(0, None, embeds)
        else:
            found = self._rows.step([0], [int(ids[-1] % rows)])[0]
        self._rows.cache.rewind(0, None)
        error = float((found - expected).norm() / expected.norm().clamp_min(1e-30))
        limit = _TOLERANCE.get(net.dtype, 5e-2)
        limit = limit if self._exact else 0.5
        if not error <= limit:
            raise InputError(
                f"DecodeEngine: llm must give finite logits that the engine reproduces to "
                f"{limit:g}, got a relative difference of {error:.2g}. Look at its weights; a "
                "changed model needs fastbrain.decoding.generate."
            )

    @torch.no_grad()
    def embed(self, text: str | Sequence[int] | Tensor, *, bos: bool = False) -> Tensor:
        """Embed a text or token ids as (S, d), for use before or after brain tokens.

        Parameters
        ----------
        text : str, sequence of int, or Tensor (S,) int64
            A text is tokenized without special tokens.
        bos : bool
            Whether the token that begins a sequence is put before it.

        Raises
        ------
        InputError
            A token is not in the vocabulary, or a tokenizer is needed and was not given.
        """
        if isinstance(text, str) or bos:
            self._need_tokenizer("embed")
        if isinstance(text, str):
            listed = self.tokenizer.encode(text, add_special_tokens=False)
        elif isinstance(text, Tensor) and text.ndim == 1:
            listed = text.tolist()
        elif isinstance(text, (list, tuple)):
            listed = list(text)
        else:
            raise InputError(
                f"DecodeEngine.embed: text must be a str or token ids (S,), got "
                f"{_checks.described(text)}."
            )
        if bos and self.tokenizer.bos_token_id is not None:
            listed = [self.tokenizer.bos_token_id, *listed]
        ids = [_checks.token("DecodeEngine.embed", "text", one, self._known) for one in listed]
        net = self._rows.net
        return net.embed(torch.tensor(ids, dtype=torch.int64, device=net.device))

    @torch.no_grad()
    def prefix(self, text: str | Sequence[int] | Tensor, *, bos: bool = True) -> Prefix:
        """Read a text once; its keys and values can then precede any row of any call.

        Parameters
        ----------
        text : str, sequence of int, or Tensor (S,) int64 or (S, d) float
        bos : bool
            As in :meth:`embed`; embeddings are taken as they are.

        Raises
        ------
        InputError
            It is empty, does not fit the cache, or is not finite.
        """
        embeds = self._prefix_embeds(text, bos)
        if not len(embeds):
            raise InputError("DecodeEngine.prefix: text must have a token, got none.")
        check_room("DecodeEngine.prefix", self.max_tokens, len(embeds), 1)
        with self._alone():
            logits = self._rows.open(0, None, embeds)
            _checks.predicted("DecodeEngine.prefix", logits)
            made = Prefix(*self._rows.cache.take(0), logits, self._rows.network)
            self._rows.cache.rewind(0, None)
        return made

    def set_prefix(
        self, prefix: Prefix | str | Sequence[int] | Tensor | None, *, bos: bool = True
    ) -> None:
        """Set what precedes the rows of all further calls; None is nothing.

        Parameters
        ----------
        prefix : Prefix, or as in :meth:`prefix`, or None
        bos : bool

        Raises
        ------
        InputError
            As :meth:`prefix`, or another engine made it.
        """
        if prefix is None or isinstance(prefix, Prefix):
            check_prefixes("DecodeEngine.set_prefix", [prefix], self._rows.network)
            self._prefix = prefix
        else:
            self._prefix = self.prefix(prefix, bos=bos)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the cache; calls from other threads wait."""
        me = threading.get_ident()
        if self._user == me:
            raise InputError(
                "DecodeEngine: a callback must not call the engine that calls it, got such a call. "
                "Make a second engine."
            )
        with self._lock:
            if self._moved():
                raise InputError(
                    "DecodeEngine: weights of the model must stay where they were, got moved ones, "
                    "as by share_memory or for another process. Make a new engine."
                )
            self._user = me
            try:
                yield
            finally:
                self._user = None

    def _need_tokenizer(self, method: str) -> None:
        if self.tokenizer is None:
            raise InputError(
                f"DecodeEngine.{method}: tokenizer must be given to the engine for texts, got None."
            )

    def _prefix_embeds(self, text: Any, bos: bool) -> Tensor:
        if isinstance(text, Tensor) and text.ndim == 2:
            given = _checks.embeddings("DecodeEngine.prefix", "text", text[None], self._known)
            return given[0]
        return self.embed(text, bos=bos)

    def _opening(
        self, name: str, inputs: Any, mask: Any, prefixes: Any
    ) -> tuple[list[Tensor], list[Prefix | None]]:
        """Check inputs and prefixes; return the embeddings (S, d) and the prefix of each row."""
        if prefixes is not None:
            check_prefixes(name, prefixes, self._rows.network)
        before = None if prefixes is None else list(prefixes)
        least = 1 if before is None and self._prefix is None else 0
        rows = rows_of(name, inputs, mask, self._known, least)
        before = [self._prefix] * len(rows) if before is None else before
        if len(before) != len(rows):
            raise InputError(
                f"{name}: prefixes must be one for each of {len(rows)} rows, got {len(before)}."
            )
        if any(p is None and not len(r) for p, r in zip(before, rows, strict=True)):
            raise InputError(f"{name}: inputs must not be empty in a row without prefix, got one.")
        return rows, before

    def _ends(self, name: str, given: EndTokens | str) -> tuple[int, ...]:
        if not isinstance(given, str):
            return _checks.end_tokens(name, given, self._known)
        if given != "tokenizer":
            raise InputError(
                f"{name}: eos_token_id must be token ids, None or 'tokenizer', got {given!r}."
            )
        self._need_tokenizer(name.removeprefix("DecodeEngine."))
        return _checks.end_tokens(name, end_tokens_of(self.tokenizer, self._llm), self._known)

    def _texts(
        self, name: str, constraint: Any, sampling: Sampling, ends: tuple[int, ...]
    ) -> ConstrainedTexts | None:
        if constraint is None:
            return None
        if not isinstance(constraint, Constraint):
            raise InputError(
                f"{name}: constraint must have start, allowed, advance and complete, got "
                f"{type(constraint).__name__}. PhraseList and Grammar have."
            )
        if sampling.min_new_tokens:
            raise InputError(
                f"{name}: min_new_tokens must be 0 with a constraint, got "
                f"{sampling.min_new_tokens}. The constraint says where a text may end."
            )
        if sampling.method == "beam" and not ends:
            raise InputError(
                f"{name}: eos_token_id must be given for a beam search with a constraint, got none."
            )
        for token in getattr(constraint, "tokens", tuple)():
            _checks.token(name, "constraint", token, self._known)
            if token in ends:
                raise InputError(
                    f"{name}: constraint must hold no end token, got {token}. Leave it out of the "
                    "phrases."
                )
        return ConstrainedTexts(constraint, ends)

    def _candidates(self, name: str, candidates: Any) -> list[list[int]]:
        listed = list(candidates) if isinstance(candidates, (list, tuple)) else []
        if listed and all(isinstance(one, str) for one in listed):
            self._need_tokenizer("score")
            ids, mask = encode_answers(self.tokenizer, listed, max_tokens=self.max_tokens)
            listed = [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)]
        if not listed or not all(isinstance(one, (list, tuple)) and one for one in listed):
            raise InputError(
                f"{name}: candidates must be texts or lists of tokens, one or more and none empty, "
                f"got {type(candidates).__name__}."
            )
        return [[_checks.token(name, "candidates", t, self._known) for t in one] for one in listed]
