"""Shared vocabulary of words and brain codes in one language model."""

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
    """Token ids of the brain codes in a tokenizer.

    Parameters
    ----------
    first : int
        Token of code 0; the tokens of the other codes follow it.
    codes : int
        Number of codes.
    begin, end : int
        Tokens before and after a recording.
    """

    first: int
    codes: int
    begin: int
    end: int

    @classmethod
    def find(cls, tokenizer: Any) -> CodeVocabulary:
        """Find the codes in a tokenizer that was extended by :func:`extend_vocabulary`.

        Raises
        ------
        InputError
            The tokenizer has no codes, or their ids are not consecutive.
        """
        known = tokenizer.get_vocab()
        ids = [known[name] for name in map(_name, range(len(known))) if name in known]
        if not ids or {_BEGIN, _END} - known.keys() or ids != list(range(ids[0], ids[-1] + 1)):
            raise InputError(
                f"CodeVocabulary: the tokenizer must hold codes in a row, got {len(ids)}. Extend "
                "it with extend_vocabulary."
            )
        return cls(ids[0], len(ids), known[_BEGIN], known[_END])

    @classmethod
    def empty(cls) -> CodeVocabulary:
        """Vocabulary without codes, for a language model that reads none: every token is text."""
        return cls(0, 0, -1, -1)

    def tokens(self, codes: Tensor) -> Tensor:
        """Map `codes` (...) int64 to tokens.

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
        """Map `tokens` (...) int64 to codes; -1 for text."""
        inside = (tokens >= self.first) & (tokens < self.first + self.codes)
        return torch.where(inside, tokens - self.first, -1)


@checked
def extend_vocabulary(
    llm: Any,
    tokenizer: Any,
    codes: int,
    *,
    codebook: Tensor | None = None,
    images: Tensor | None = None,
    seed: int = 0,
) -> CodeVocabulary:
    """Add K code tokens to a language model and its tokenizer, in place.

    Both can then be saved and loaded with ``save_pretrained`` and ``from_pretrained``.

    Parameters
    ----------
    llm : PreTrainedModel
        Its embeddings are extended, and so is its output layer if it is not tied.
    tokenizer : PreTrainedTokenizer
    codes : int
    codebook : Tensor, (K, D), optional
        New embeddings are the mean of the old ones plus a random projection of the codes, scaled
        to the mean distance of words from that mean, so that similar codes have similar
        embeddings. Default: random directions of that length.
    images : Tensor, (K, width), optional
        A vector of the model's width for each code, for instance from :func:`code_images`. The
        input embeddings of the codes, and a tied output layer, start at these vectors, moved to the
        mean of the words and scaled as a whole to their mean distance from it. An output layer that
        is not tied has a space of its own and starts as without images.
    seed : int

    Returns
    -------
    CodeVocabulary

    Raises
    ------
    InputError
        The tokenizer already has codes, codebook or images do not have K rows or are not finite, or
        the images do not have the model's width.
    """
    if _name(0) in tokenizer.get_vocab():
        raise InputError("extend_vocabulary: the tokenizer must not have codes yet, got some.")
    if codes < 1 or (codebook is not None and (codebook.ndim != 2 or len(codebook) != codes)):
        shape = None if codebook is None else tuple(codebook.shape)
        raise InputError(
            f"extend_vocabulary: codes must be 1 or more and codebook ({codes}, D), got {codes} "
            f"and {shape}."
        )
    if codebook is not None and not codebook.isfinite().all():
        raise InputError(
            "extend_vocabulary: codebook must be finite, got NaN or infinity. Train it again."
        )
    width = llm.get_input_embeddings().weight.shape[1]
    if images is not None and (images.shape != (codes, width) or not images.isfinite().all()):
        raise InputError(
            f"extend_vocabulary: images must be finite, ({codes}, {width}), got "
            f"{tuple(images.shape)}. Use the language model to which the codes were aligned."
        )
    # a vocabulary size padded to a multiple gives a model more rows than the tokenizer has words
    words = len(tokenizer)
    names = [_BEGIN, _END, *map(_name, range(codes))]
    tokenizer.add_tokens(names, special_tokens=True)
    vocabulary = CodeVocabulary.find(tokenizer)
    generator = torch.Generator().manual_seed(seed)
    llm.resize_token_embeddings(max(len(tokenizer), llm.config.vocab_size), mean_resizing=False)
    ends = llm.get_input_embeddings(), llm.get_output_embeddings()
    with torch.no_grad():
        # a tied head shares its weight with the embeddings: update it only once
        for i, weight in enumerate({id(end.weight): end.weight for end in ends}.values()):
            old = weight[:words].float()
            mean = old.mean(dim=0)
            length = (old - mean).norm(dim=1).mean()
            new = torch.randn(len(names), width, generator=generator)
            if codebook is not None:
                points = codebook.detach().float().cpu()
                points = points - points.mean(dim=0)
                turn = torch.randn(points.shape[1], width, generator=generator)
                new[2:] = points @ turn
            if images is not None and i == 0:
                points = images.detach().float().cpu()
                new[2:] = points - points.mean(dim=0)
            new = new.to(mean) / new.norm(dim=1).mean().to(mean)
            weight[words : words + len(names)] = (mean + length * new).to(weight.dtype)
    return vocabulary


def _name(code: int) -> str:
    return f"<brain_{code}>"
