"""C++ kernel of a decoding step: a new token for each of a few rows over a static cache.

Every weight is read once, which dominates the cost; activations are float32. What a row gets does
not depend on the other rows, to the bit. Its meaning is the step of
:class:`fastbrain.decoding.engine.network.Network`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ... import _native
from .._tensors import address
from .threads import ThreadChoice

# numbered as DecoderWeight and DecoderActivation in csrc/decoder.h
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_ACTIVATIONS = {None: 0, "gelu": 1, "silu": 2, "relu": 3, "gelu_tanh": 4}


@dataclass(frozen=True, eq=False)
class LinearWeights:
    """Linear layer with an optional low-rank branch ``scale · act(x Aᵀ) Bᵀ``.

    `weight` (d_out, d_in) is float32, bfloat16, or int8 with `row_scale` (d_out,); `bias` (d_out,),
    `a` (r, d_in) and `b` (d_out, r) are float32. All are contiguous.
    """

    weight: Tensor
    row_scale: Tensor | None = None
    bias: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 1.0
    activation: str | None = None

    def packed(self) -> tuple[Any, ...]:
        """Return addresses and sizes as the kernel takes them."""
        d_out, d_in = self.weight.shape
        rank = 0 if self.a is None else self.a.shape[0]
        parts = (self.weight, self.row_scale, self.bias, self.a, self.b)
        kinds = _TYPES[self.weight.dtype], _ACTIVATIONS[self.activation]
        return (*map(address, parts), d_in, d_out, rank, *kinds, self.scale)


@dataclass(frozen=True, eq=False)
class NormWeights:
    """RMS norm, or layer norm where `bias` is given; weight and bias (d,) are float32."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    def packed(self) -> tuple[int, int, float]:
        """Return addresses and epsilon as the kernel takes them."""
        return address(self.weight), address(self.bias), self.eps


def can_step(device: torch.device, weights: torch.dtype) -> str | None:
    """Return None, or the reason why the kernel cannot read weights of this type there."""
    if device.type != "cpu":
        return f"the weights are on {device}"
    return None if weights in _TYPES else f"the weights are {weights}"


class FewRows:
    """A model as the kernel reads it; it keeps the tensors alive.

    Parameters
    ----------
    layers : sequence of mapping
        Per layer: `LinearWeights` q, k, v, out, gate (or None), up, down; `NormWeights`
        before_attention, before_mlp, and q_norm, k_norm, after_attention, after_mlp (or None);
        `cosines` and `sines` (positions, head_width) or None; `scale`; `window`, 0 for none.
    whole : mapping
        `width`, `heads`, `key_heads`, `head_width`, `hidden`, `positions` (Tensor or None),
        `norm`, `head`, `activation` (str), `attention_cap`, `logit_cap` (0 for none); `table`, the
        embeddings (vocabulary, width) in float32 or bfloat16, contiguous, or None.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]) -> None:
        self._held, self._threads = (layers, whole), ThreadChoice()
        table: Tensor | None = whole["table"]
        described = (0, False, 0)
        if table is not None:
            described = (table.data_ptr(), table.dtype == torch.bfloat16, len(table))
        rest = {
            **_packed(whole),
            "activation": _ACTIVATIONS[whole["activation"]],
            "table": described,
        }
        self._native = _native.Decoder([_packed(layer) for layer in layers], rest)
        self._vocabulary = whole["head"].weight.shape[0]
        # by number of rows
        self._logits: dict[int, Tensor] = {}
        self._places = [(one, one.data_ptr()) for one in _tensors_of([whole, *layers])]

    def moved(self) -> bool:
        """Return whether the memory of a weight is elsewhere by now, as after `share_memory`."""
        return any(one.data_ptr() != place for one, place in self._places)

    def step(
        self,
        tokens: Sequence[int],
        embeds: Tensor | None,
        rows: Sequence[int],
        places: Sequence[int],
        keys: Tensor,
        values: Tensor,
    ) -> Tensor:
        """Append a token to each of n rows.

        Parameters
        ----------
        tokens : sequence of int
            Their embeddings are read from the table.
        embeds : Tensor, (n, width) float32, contiguous, or None
            What is appended in place of `tokens`; needed where there is no table.
        rows, places : sequence of int
            Row of the cache and position of each token.
        keys, values : Tensor, (layers, cache_rows, key_heads, length, head_width) float32
            Written at the places, read before them.

        Returns
        -------
        Tensor, (n, V) float32
            The next step overwrites it.
        """
        count = len(rows)
        logits = self._logits.get(count)
        if logits is None:
            # not the default type of PyTorch: the kernel writes float32
            logits = torch.empty(count, self._vocabulary, dtype=torch.float32, device="cpu")
            self._logits = {count: logits}
        threads = self._threads.choose(count, torch.get_num_threads())
        start = perf_counter()
        self._native.step(
            tokens=tokens,
            embeds=0 if embeds is None else embeds.data_ptr(),
            rows=rows,
            places=places,
            keys=keys.data_ptr(),
            values=values.data_ptr(),
            logits=logits.data_ptr(),
            cache_rows=keys.shape[1],
            length=keys.shape[3],
            threads=threads,
        )
        self._threads.record(count, threads, perf_counter() - start)
        return logits


def likeliest(logits: Tensor, never: Sequence[int]) -> list[int] | None:
    """Return the first of the likeliest tokens of each row.

    Several calls of PyTorch take longer than a step of a small model.

    Parameters
    ----------
    logits : Tensor, (n, V) float32, contiguous
        On the CPU.
    never : sequence of int
        Tokens that are not picked.

    Returns
    -------
    list of int, or None
        None if a row has NaN or plus infinity, or no finite number beside those of `never`.
    """
    found: list[int] = _native.likeliest(logits.data_ptr(), *logits.shape, never)
    return None if -1 in found else found


def _tensors_of(parts: Iterable[Mapping[str, Any]]) -> Iterator[Tensor]:
    for value in (value for part in parts for value in part.values()):
        held = isinstance(value, LinearWeights | NormWeights)
        for one in vars(value).values() if held else [value]:
            if isinstance(one, Tensor):
                yield one


def _packed(parts: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in parts.items():
        if isinstance(value, LinearWeights | NormWeights):
            value = value.packed()
        elif isinstance(value, Tensor) or name in ("cosines", "sines", "positions"):
            value = address(value)
        found[name] = value
    return found
