"""The loop of greedy decoding and sampling without waiting for the device.

A step chooses the next tokens from the logits that it finds and replaces them by those that follow,
all in buffers of fixed addresses, so that on a GPU it is one captured graph. The host looks at the
result every few tokens only. On a CPU the same functions run without a graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ..sampling import Sampling, pick_at
from .cache import Cache
from .network import Network
from .recent import Recent
from .sequential import Options, Writing, uniform_of

_WARM_UPS = 3  # runs before a capture, in which libraries allocate what they need
# each keeps a graph and three arrays (rows, vocabulary): a session has one, a service a few
MOST_LOOPS = 8


@dataclass(eq=False)
class _Buffers:
    """State of R rows on the device; a step changes it in place."""

    logits: Tensor  # (R, V)
    places: Tensor  # (R,) int64: position of the next token
    tokens: Tensor  # (R, T) int64
    step: Tensor  # (1,) int64
    running: Tensor  # (R,) bool
    lengths: Tensor  # (R,) int64
    totals: Tensor  # (R,) float32
    finite: Tensor  # (R,) bool
    uniform: Tensor  # (R, T)
    seen: Tensor  # (R, V) bool
    bias: Tensor  # (R, V)
    is_end: Tensor  # (V,) bool

    def fill(self, values: dict[str, Tensor]) -> None:
        """Copy values into the buffers, which keep their addresses."""
        for name, value in values.items():
            getattr(self, name).copy_(value)


class DeviceLoop:
    """Steps of one number of rows and one set of options, captured once where there is a GPU.

    Parameters
    ----------
    network : Network
    cache : Cache
        The graph has its addresses.
    count : int
    sampling : Sampling
        Its seed may differ between calls.
    """

    def __init__(self, network: Network, cache: Cache, count: int, sampling: Sampling) -> None:
        net = network.net
        self._network, self._cache, self._sampling = network, cache, sampling
        self._graph: Any = None
        most, vocabulary = sampling.max_new_tokens, net.vocabulary

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=net.device)

        self._on = _Buffers(
            logits=zeros(count, vocabulary),
            places=zeros(count, dtype=torch.int64),
            tokens=zeros(count, most, dtype=torch.int64),
            step=zeros(1, dtype=torch.int64),
            running=zeros(count, dtype=torch.bool),
            lengths=zeros(count, dtype=torch.int64),
            totals=zeros(count),
            finite=zeros(count, dtype=torch.bool),
            uniform=zeros(count, most),
            seen=zeros(count, vocabulary, dtype=torch.bool),
            bias=zeros(count, vocabulary),
            is_end=zeros(vocabulary, dtype=torch.bool),
        )

    def run(self, logits: Tensor, options: Options, every: int) -> tuple[list[Writing], float]:
        """Write the texts of opened rows; `logits` (R, V) are the next, as :func:`write` does.

        Parameters
        ----------
        logits : Tensor
        options : Options
            Without constraint and callback.
        every : int
            Steps between two looks at the device.
        """
        on, most, count = self._on, self._sampling.max_new_tokens, len(logits)
        is_end = torch.zeros(logits.shape[1], dtype=torch.bool)
        is_end[list(options.ends)] = True
        zero = torch.zeros((), dtype=torch.int64)
        start = {
            "places": torch.tensor(self._cache.lengths[:count]),
            "uniform": uniform_of(options, count),
            "is_end": is_end,
            "running": zero == 0,
            "finite": zero == 0,
            "bias": zero.float() if options.bias is None else options.bias,
            "logits": logits,
            **{name: zero for name in ("tokens", "step", "lengths", "totals", "seen")},
        }
        if self._graph is None and logits.is_cuda:
            on.fill(start)
            self._capture()
        on.fill(start)
        first, cancelled = None, False
        for done in range(1, most + 1):
            if done == 1 or done % every == 0:
                cancelled = options.cancelled is not None and options.cancelled()
                if cancelled:
                    break
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()
            if first is None:
                _wait(logits)
                first = perf_counter()
            if done % every == 0 and not bool(on.running.any()):
                break
        return self._writings(cancelled), perf_counter() if first is None else first

    def _step(self) -> None:
        on, sampling = self._on, self._sampling
        logits = on.logits + on.bias
        on.finite &= logits.amax(dim=-1).isfinite() | ~on.running
        if sampling.repetition_penalty != 1.0:
            penalty = sampling.repetition_penalty
            less = torch.where(logits > 0, logits / penalty, logits * penalty)
            logits = torch.where(on.seen, less, logits)
        early = (on.step < sampling.min_new_tokens) & on.is_end
        logits = logits.masked_fill(early, -torch.inf)
        uniform = on.uniform.gather(1, on.step.expand(len(logits), 1))[:, 0]
        chosen = pick_at(logits, sampling, uniform)
        log_p = torch.log_softmax(logits, dim=-1).gather(1, chosen[:, None])[:, 0]
        on.totals += torch.where(on.running, log_p, 0.0)
        on.running &= ~on.is_end[chosen]
        on.lengths += on.running
        on.tokens.scatter_(1, on.step.expand(len(logits), 1), chosen[:, None])
        on.seen.scatter_(1, chosen[:, None], True)
        # the last token of a full row is not read; it is put where nothing is
        places = on.places.clamp_max(self._cache.length - 1)
        on.logits.copy_(self._network.step(chosen, places, self._cache))
        on.places += 1
        on.step += 1
        on.step.clamp_max_(on.tokens.shape[1] - 1)

    def _capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        held = {name: value.clone() for name, value in vars(self._on).items()}
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._step()
                self._on.fill(held)
        torch.cuda.current_stream().wait_stream(side)
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._graph = graph

    def _writings(self, cancelled: bool) -> list[Writing]:
        on = self._on
        if not bool(on.finite.all()):
            raise InputError(
                "DecodeEngine.generate: the language model must predict finite logits, got NaN or "
                "infinity. Look at its weights; float16 overflows in many models: use bfloat16 or "
                "float32."
            )
        lengths, totals = on.lengths.tolist(), on.totals.tolist()
        tokens, running = on.tokens.tolist(), on.running.tolist()
        going = "cancelled" if cancelled else "length"
        return [
            Writing(i, tokens[i][:n], totals[i], going if running[i] else "end")
            for i, n in enumerate(lengths)
        ]


class DeviceLoops:
    """Loops on the device, each made at its first use; those used last are kept.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._cache: Cache | None = None
        self._loops: Recent[DeviceLoop] = Recent(MOST_LOOPS)

    def of(self, cache: Cache, count: int, sampling: Sampling) -> DeviceLoop:
        """Loop for `count` rows of a cache."""
        if cache is not self._cache:  # the graphs have the addresses of another one
            self._cache, self._loops = cache, Recent(MOST_LOOPS)
        key = (count, replace(sampling, seed=0))
        loop = self._loops.get(key)
        if loop is None:
            loop = self._loops.put(key, DeviceLoop(self._network, cache, count, sampling))
        return loop


def _wait(like: Tensor) -> None:
    if like.is_cuda:
        torch.cuda.current_stream(like.device).synchronize()
