"""Likelihoods of candidate texts in one pass: their common beginnings are computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import _checks
from .rows import Rows

_MOST_NODES = 2048  # the attention mask has a row and a column for each
_LOGITS_AT_ONCE = 1 << 24  # numbers


@dataclass
class _Tree:
    """Texts as a tree of tokens; node 0 is what comes before them.

    `parents`, `tokens` and `depths` are of the nodes; `paths` are the nodes of each text.
    """

    parents: list[int] = field(default_factory=lambda: [-1])
    tokens: list[int] = field(default_factory=lambda: [-1])
    depths: list[int] = field(default_factory=lambda: [-1])
    paths: list[list[int]] = field(default_factory=list)
    _known: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, text: Sequence[int]) -> None:
        node, path = 0, []
        for token in text:
            child = self._known.get((node, token))
            if child is None:
                child = self._known[node, token] = len(self.tokens)
                self.parents.append(node)
                self.tokens.append(token)
                self.depths.append(self.depths[node] + 1)
            path.append(node := child)
        self.paths.append(path)

    def inputs(self) -> list[int]:
        """Nodes that a token follows, in order; the last token of a text is not an input."""
        return sorted(set(self.parents[1:]) - {0})


def score_candidates(
    rows: Rows, first: Tensor, texts: Sequence[Sequence[int]], bias: Tensor | None
) -> Tensor:
    """Negative log likelihoods (M,) float64, in nats, of texts that continue row 0.

    Parameters
    ----------
    rows : Rows
        Row 0 is opened.
    first : Tensor, (V,)
        Logits of the first token.
    texts : sequence of sequence of int
    bias : Tensor, (V,), or None
    """
    # neighbours in this order share most tokens
    order = sorted(range(len(texts)), key=lambda i: tuple(texts[i]))
    result = torch.empty(len(texts), dtype=torch.float64, device="cpu")
    for part in _parts([texts[i] for i in order]):
        tree = _Tree()
        for text in part:
            tree.add(text)
        nodes = _node_scores(rows, first, tree, bias)
        done = [float(nodes[path].sum()) for path in tree.paths]
        result[order[: len(part)]] = result.new_tensor(done)
        del order[: len(part)]
    return result


def _parts(texts: list[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    part: list[Sequence[int]] = []
    size = 0
    for text in texts:
        if part and size + len(text) > _MOST_NODES:
            yield part
            part, size = [], 0
        part.append(text)
        size += len(text)
    if part:
        yield part


def _node_scores(rows: Rows, first: Tensor, tree: _Tree, bias: Tensor | None) -> Tensor:
    """Negative log probability (nodes,) float64 of each node's token after its parent."""
    device, inputs = first.device, tree.inputs()
    place = {0: 0, **{node: i + 1 for i, node in enumerate(inputs)}}
    parents = torch.tensor([place[p] for p in tree.parents[1:]], device=device)
    tokens = torch.tensor(tree.tokens[1:], device=device)
    found = torch.zeros(len(tree.tokens), dtype=torch.float64, device="cpu")

    def fill(logits: Tensor, start: int) -> None:
        logits = logits if bias is None else logits + bias
        _checks.predicted("DecodeEngine.score", logits)
        own = ((parents >= start) & (parents < start + len(logits))).nonzero()[:, 0]
        log_p = torch.log_softmax(logits, dim=-1)
        found[own.cpu() + 1] = -log_p[parents[own] - start, tokens[own]].double().cpu()

    fill(first[None], 0)
    if inputs:
        states = rows.network.tree(
            torch.tensor([tree.tokens[n] for n in inputs], device=device),
            torch.tensor([tree.depths[n] for n in inputs], device=device),
            _ancestors(tree, inputs).to(device),
            rows.cache,
            0,
        )
        chunk = max(1, _LOGITS_AT_ONCE // rows.net.vocabulary)
        for start in range(0, len(inputs), chunk):
            fill(rows.network.logits(states[start : start + chunk]), start + 1)
    return found


def _ancestors(tree: _Tree, nodes: list[int]) -> Tensor:
    """Matrix (N, N) bool: whether the column is the row or one of its ancestors."""
    place = {node: i for i, node in enumerate(nodes)}
    seen = torch.eye(len(nodes), dtype=torch.bool, device="cpu")
    for i, node in enumerate(nodes):
        parent = tree.parents[node]
        if parent:
            seen[i] |= seen[place[parent]]  # parents come first
    return seen
