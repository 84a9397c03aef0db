"""One vocabulary for words and brain: a language model whose tokens are text and codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._arguments import checked
from ..errors import InputError

_BEGIN, _END = "<brain>", "</brain>"


@dataclass(frozen=True)
class CodeVocabulary:
    """Where codes stand among a tokenizer's tokens.

    Parameters
    ----------
    first : int
        Token of code 0; the others follow.
    codes : int
    begin, end : int
        Tokens around a recording.
    """

    first: int
    codes: int
    begin: int
    end: int

    @classmethod
    def find(cls, tokenizer: Any) -> CodeVocabulary:
        """Read it from a tokenizer that was saved after :func:`extend_vocabulary`.

        Raises
        ------
        InputError
            The tokenizer has no codes, or not all of them in a row.
        """
        known = tokenizer.get_vocab()
        ids = [known[name] for name in map(_name, range(len(known))) if name in known]
        if not ids or {_BEGIN, _END} - known.keys() or ids != list(range(ids[0], ids[-1] + 1)):
            raise InputError(
                f"CodeVocabulary: the tokenizer must hold codes in a row, got {len(ids)}. Extend "
                "it with extend_vocabulary."
            )
        return cls(ids[0], len(ids), known[_BEGIN], known[_END])

    def tokens(self, codes: Tensor) -> Tensor:
        """Tokens of `codes` (...) int64.

        Raises
        ------
        InputError
            A code is not in [0, codes): masked patches (-1) have no token.
        """
        if codes.numel() and not (0 <= int(codes.min()) and int(codes.max()) < self.codes):
            raise InputError(
                f"CodeVocabulary: codes must be in [0, {self.codes}), got {int(codes.min())} to "
                f"{int(codes.max())}. Leave masked patches out."
            )
        return codes + self.first

    def codes_of(self, tokens: Tensor) -> Tensor:
        """Codes of `tokens` (...) int64; -1 for text."""
        inside = (tokens >= self.first) & (tokens < self.first + self.codes)
        return torch.where(inside, tokens - self.first, -1)


@checked
def extend_vocabulary(
    llm: Any, tokenizer: Any, codes: int, *, codebook: Tensor | None = None, seed: int = 0
) -> CodeVocabulary:
    """Give a language model and its tokenizer K codes, in place.

    Both are then saved and loaded by their own ``save_pretrained`` and ``from_pretrained``.

    Parameters
    ----------
    llm : PreTrainedModel
        Its embeddings (and its head, where that is not tied) grow.
    tokenizer : PreTrainedTokenizer
    codes : int
    codebook : Tensor, (K, D), optional
        New embeddings are then the mean of the old ones plus the codes under a random rotation,
        as large as words lie from that mean: codes that are near are near as tokens. Default:
        random directions of that length.
    seed : int

    Returns
    -------
    CodeVocabulary

    Raises
    ------
    InputError
        The tokenizer has codes already, or the codebook is of another size.
    """
    if _name(0) in tokenizer.get_vocab():
        raise InputError("extend_vocabulary: the tokenizer must not have codes yet, got some.")
    if codes < 1 or (codebook is not None and (codebook.ndim != 2 or len(codebook) != codes)):
        shape = None if codebook is None else tuple(codebook.shape)
        raise InputError(
            f"extend_vocabulary: codes must be 1 or more and codebook ({codes}, D), got {codes} "
            f"and {shape}."
        )
    # with sizes that are padded to a multiple, a model may have more rows than words
    words = len(tokenizer)
    names = [_BEGIN, _END, *map(_name, range(codes))]
    tokenizer.add_tokens(names, special_tokens=True)
    vocabulary = CodeVocabulary.find(tokenizer)
    generator = torch.Generator().manual_seed(seed)
    llm.resize_token_embeddings(max(len(tokenizer), llm.config.vocab_size), mean_resizing=False)
    ends = llm.get_input_embeddings(), llm.get_output_embeddings()
    with torch.no_grad():
        # one table where the head is tied
        for weight in {id(end.weight): end.weight for end in ends}.values():
            old = weight[:words].float()
            mean = old.mean(dim=0)
            length = (old - mean).norm(dim=1).mean()
            width = weight.shape[1]
            new = torch.randn(len(names), width, generator=generator)
            if codebook is not None:
                points = codebook.detach().float().cpu()
                points = points - points.mean(dim=0)
                turn = torch.randn(points.shape[1], width, generator=generator)
                new[2:] = points @ turn
            new = new.to(mean) / new.norm(dim=1).mean().to(mean)
            weight[words : words + len(names)] = (mean + length * new).to(weight.dtype)
    return vocabulary


def _name(code: int) -> str:
    return f"<brain_{code}>"
