"""Write many lines that continue a list of lines from one prefill of the list, and score lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...lm.loading import llm_fingerprint, model_digest, vocabulary_digest
from ...lm.prompt_layout import prompt_layout
from ...lm.shared_prompt import SharedPrompt
from ..sampling import Sampling, draw
from .candidates import Candidates, NextWords


class LineWriter:
    """Write and score lines after a list of example lines.

    A pretrained model writes the next line of a list in the style of the list, without tuning.

    Parameters
    ----------
    llm : PreTrainedModel
    tokenizer : PreTrainedTokenizer

    Raises
    ------
    InputError
        The tokenizer has no token that begins a document, or none for a line break.
    """

    def __init__(self, llm: Any, tokenizer: Any) -> None:
        self.llm, self.tokenizer = llm, tokenizer
        self._layout = prompt_layout(tokenizer, llm)
        self._kept: tuple[tuple[int, ...], SharedPrompt] | None = None
        size = int(llm.get_input_embeddings().weight.shape[0])
        pieces = _pieces(tokenizer, size)
        ends = [i for i, text in enumerate(pieces) if "\n" in text]
        # some vocabularies have one token for a full stop and the line break after it
        self._last = {i: pieces[i].split("\n")[0] for i in ends}
        if not ends:
            raise InputError(
                "LineWriter: tokenizer must have a token with a line break, got none. Use a "
                "language model with a byte-level or SentencePiece vocabulary."
            )
        self._ends = torch.zeros(size, dtype=torch.bool)
        self._ends[[*ends, *self._layout.ends]] = True

    def digest(self) -> str:
        """Compute a short hash of the language model's weights and vocabulary."""
        weights = f"{llm_fingerprint(self.llm)}-{model_digest(self.llm)}"
        return f"{weights}-{vocabulary_digest(self.tokenizer)}"

    def prompt(self, lines: Sequence[str]) -> tuple[int, ...]:
        """Tokens of a list of lines; what is written next is one more line."""
        text = "".join(f"{' '.join(line.split())}\n" for line in lines)
        return (*self._layout.start, *self._encode(text))

    @torch.inference_mode()
    def write(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        *,
        sampling: Sampling,
        generator: torch.Generator,
        starts: Sequence[str] | None = None,
    ) -> Candidates:
        """Sample `count` lines after each prompt, all at once.

        What the prompts have in common is computed once.

        Parameters
        ----------
        prompts : sequence of sequence of int, (S,)
            From :meth:`prompt`.
        count : int
        sampling : Sampling
        generator : torch.Generator
            On the CPU.
        starts : sequence of str, (S,), optional
            Beginning that the lines after each prompt must have.

        Returns
        -------
        Candidates
            S · count lines, those of a prompt together.

        Raises
        ------
        InputError
            Prompt and lines do not fit into the context of the language model.
        """
        begun = [self._encode(start) for start in starts or [""] * len(prompts)]
        longest = max(len(p) + len(b) for p, b in zip(prompts, begun, strict=True))
        self._check_room(longest + sampling.max_new_tokens)
        device = self.llm.get_input_embeddings().weight.device
        ends = self._ends.to(device)
        # one token of each prompt is left, for the shared part may not be whole
        common = min([_common(prompts), *(len(prompt) - 1 for prompt in prompts)])
        ids = torch.tensor(prompts[0][:common], device=device)
        cache = SharedPrompt(self.llm, ids).rows(len(prompts))
        rest = [[*p[common:], *start] for p, start in zip(prompts, begun, strict=True)]
        step, mask = _padded(rest, device)
        mask = torch.cat([mask.new_ones(len(mask), common), mask], dim=1)
        logits, cache = self._step(step, mask, cache)
        cache.batch_repeat_interleave(count)
        logits, mask = (x.repeat_interleave(count, dim=0) for x in (logits, mask))
        total = len(logits)
        open_rows = torch.arange(total, device=device)
        written: list[list[int]] = [[] for _ in range(total)]
        last = [""] * total
        log_p, tokens = np.zeros(total), np.zeros(total, dtype=np.int64)
        for number in range(sampling.max_new_tokens):
            # a number for every line, so that a line does not depend on when others end
            uniform = torch.rand(total, generator=generator).to(device)[open_rows]
            allowed = logits
            if number < sampling.min_new_tokens:
                allowed = logits.masked_fill(ends[: logits.shape[1]], float("-inf"))
            token = draw(allowed, sampling, uniform)
            gained = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(dim=1)
            rows = open_rows.tolist()
            log_p[rows] += gained.double().cpu().numpy()
            tokens[rows] += 1
            stay = ~ends[token]
            for row, chosen, on in zip(rows, token.tolist(), stay.tolist(), strict=True):
                if on:
                    written[row].append(chosen)
                else:
                    last[row] = self._last.get(chosen, "")
            if not bool(stay.any()) or number + 1 == sampling.max_new_tokens:
                break
            if not bool(stay.all()):
                kept = stay.nonzero()[:, 0]
                cache.batch_select_indices(kept)
                open_rows, mask, token = open_rows[kept], mask[kept], token[kept]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits, cache = self._step(token[:, None], mask, cache)
        texts = [
            (self._decode([*begun[i // count], *row]) + end).strip()
            for i, (row, end) in enumerate(zip(written, last, strict=True))
        ]
        return Candidates(tuple(texts), log_p, tokens)

    @torch.inference_mode()
    def score(
        self, prompt: Sequence[int], texts: Sequence[str], *, at_once: int = 16
    ) -> Candidates:
        """Log likelihood of whole lines, with the end of the line.

        Raises
        ------
        InputError
            Prompt and text do not fit into the context of the language model.
        """
        device = self.llm.get_input_embeddings().weight.device
        lines = [self._encode(f"{' '.join(text.split())}\n") for text in texts]
        self._check_room(len(prompt) + max(map(len, lines), default=0))
        shared = self._after(prompt)
        order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        log_p = np.zeros(len(lines))
        for start in range(0, len(order), at_once):
            rows = order[start : start + at_once]
            longest = max(len(lines[i]) for i in rows)
            inputs = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
            targets = torch.full_like(inputs, -100)
            for k, i in enumerate(rows):
                inputs[k, : len(lines[i])] = torch.tensor([prompt[-1], *lines[i][:-1]])
                targets[k, : len(lines[i])] = torch.tensor(lines[i])
            found = self.llm(
                input_ids=inputs, past_key_values=shared.rows(len(rows)), use_cache=True
            ).logits.float()
            loss = torch.nn.functional.cross_entropy(
                found.flatten(0, 1), targets.flatten(), reduction="none"
            )
            log_p[rows] = -loss.view_as(inputs).sum(dim=1).double().cpu().numpy()
        return Candidates(tuple(texts), log_p, np.array([len(line) for line in lines]))

    @torch.inference_mode()
    def next_words(self, prompt: Sequence[int], text: str) -> NextWords:
        """Log probabilities of all tokens at every place of a line, given what is before it.

        Parameters
        ----------
        prompt : sequence of int
            From :meth:`prompt`.
        text : str

        Returns
        -------
        NextWords

        Raises
        ------
        InputError
            The tokenizer cannot say where its tokens are.
        """
        self.require_places()
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = found["input_ids"]
        device = self.llm.get_input_embeddings().weight.device
        inputs = torch.tensor([[prompt[-1], *ids[:-1]]], device=device)
        logits = self.llm(
            input_ids=inputs, past_key_values=self._after(prompt).rows(1), use_cache=True
        ).logits[0]
        log_p = logits.float().log_softmax(-1).cpu().numpy()
        return NextWords(tuple(map(tuple, found["offset_mapping"])), np.array(ids), log_p)

    def require_places(self) -> None:
        """Raise if :meth:`next_words` cannot say which token is where in a text.

        Raises
        ------
        InputError
            The tokenizer is a slow one.
        """
        if not self.tokenizer.is_fast:
            raise InputError(
                "LineWriter: tokenizer must tell the place of each token, got a slow one. Use a "
                "language model with a tokenizer.json."
            )

    def _check_room(self, tokens: int) -> None:
        most = getattr(self.llm.config, "max_position_embeddings", None)
        if most is not None and tokens > most:
            raise InputError(
                f"LineWriter: prompt and text must be at most {most} tokens, the context of the "
                f"language model, got {tokens}. Use shorter texts or fewer shots."
            )

    def _after(self, prompt: Sequence[int]) -> SharedPrompt:
        """Keys and values of all but the last token of a prompt; those of the last one are kept."""
        if self._kept is None or self._kept[0] != tuple(prompt):
            device = self.llm.get_input_embeddings().weight.device
            ids = torch.tensor(prompt, device=device)[:-1]
            self._kept = tuple(prompt), SharedPrompt(self.llm, ids)
        return self._kept[1]

    def _step(self, tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        places = (mask.cumsum(dim=1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        found = self.llm(
            input_ids=tokens, attention_mask=mask, position_ids=places, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        return found.logits[:, -1].float(), found.past_key_values

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _pieces(tokenizer: Any, size: int) -> list[str]:
    known = min(size, len(tokenizer))
    return [str(text) for text in tokenizer.batch_decode([[i] for i in range(known)])]


def _common(prompts: Sequence[Sequence[int]]) -> int:
    """Number of first tokens that all prompts share."""
    for number, tokens in enumerate(zip(*prompts, strict=False)):
        if len(set(tokens)) > 1:
            return number
    return min(map(len, prompts))


def _padded(rows: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens (N, T) padded on the left, and their mask (N, T) int64."""
    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long, device=device)
    mask = torch.zeros_like(tokens)
    for i, row in enumerate(rows):
        tokens[i, longest - len(row) :] = torch.tensor(row, device=device)
        mask[i, longest - len(row) :] = 1
    return tokens, mask
