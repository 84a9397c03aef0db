"""Write many lines that continue a list of lines from one prefill of the list, and score lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._arguments import checked
from ...errors import InputError
from ...lm.loading import llm_fingerprint, model_digest, vocabulary_digest
from ...lm.prompt_layout import prompt_layout
from ...lm.shared_prompt import KeptPrompt
from .. import _checks
from ..sampling import Sampling, draw
from .candidates import Candidates, NextWords
from .line_rows import check_prompts, check_sampling, laid_out


@checked
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
        The language model has no key-value cache, or the tokenizer no token that begins a document
        or none for a line break.
    """

    def __init__(self, llm: Any, tokenizer: Any) -> None:
        _checks.language_model("LineWriter", llm)
        self.llm, self.tokenizer = llm, tokenizer
        self._layout = prompt_layout(tokenizer, llm)
        self._kept = KeptPrompt(llm)
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

    @checked(least={"count": 1})
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

        What the prompts have in common is computed once; not so if the language model has a sliding
        window, the prompts differ in length and one with its lines is longer than the window.

        Parameters
        ----------
        prompts : sequence of sequence of int, (S,)
            From :meth:`prompt`.
        count : int
        sampling : Sampling
            Greedy or sampled, without a penalty of repetition. Its seed is not used.
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
            A prompt is empty or has tokens that are not in the vocabulary, starts and prompts
            differ in number, the generator is not on the CPU, the sampling is not supported, or
            prompt and lines do not fit into the context of the language model. Also raised if the
            model predicts logits that are not finite.
        """
        check_sampling("LineWriter.write", sampling)
        if starts is not None and len(starts) != len(prompts):
            raise InputError(
                f"LineWriter.write: starts must be one for each of {len(prompts)} prompts, got "
                f"{len(starts)}. Use '' for none."
            )
        if generator.device.type != "cpu":
            raise InputError(
                f"LineWriter.write: generator must be on the CPU, got {generator.device}. Make it "
                "with torch.Generator()."
            )
        begun = [self._encode(start) for start in starts or [""] * len(prompts)]
        more = [len(start) + sampling.max_new_tokens for start in begun]
        check_prompts("LineWriter.write", self.llm, prompts, more)
        device = self.llm.get_input_embeddings().weight.device
        ends = self._ends.to(device)
        cache, step, mask = laid_out(self.llm, prompts, begun, sampling.max_new_tokens)
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
            if not bool(stay.any()):
                break
            if not bool(stay.all()):
                kept = stay.nonzero()[:, 0]
                cache.batch_select_indices(kept)
                open_rows, mask, token = open_rows[kept], mask[kept], token[kept]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits, cache = self._step(token[:, None], mask, cache)
        else:
            # an end would follow the lines that are cut
            rows = open_rows.tolist()
            end = logits[:, ends[: logits.shape[1]]].logsumexp(dim=1) - logits.logsumexp(dim=1)
            log_p[rows] += end.double().cpu().numpy()
            tokens[rows] += 1
        texts = [
            (self._decode([*begun[i // count], *row]) + end).strip()
            for i, (row, end) in enumerate(zip(written, last, strict=True))
        ]
        return Candidates(tuple(texts), log_p, tokens)

    @checked(least={"at_once": 1})
    @torch.inference_mode()
    def score(
        self, prompt: Sequence[int], texts: Sequence[str], *, at_once: int = 16
    ) -> Candidates:
        """Log likelihood of whole lines, with the end of the line.

        Raises
        ------
        InputError
            The prompt is empty or has tokens that are not in the vocabulary, or prompt and text do
            not fit into the context of the language model. Also raised if the model predicts logits
            that are not finite.
        """
        lines = [self._line(text) for text in texts]
        longest = max(map(len, lines), default=0)
        check_prompts("LineWriter.score", self.llm, [prompt], [longest])
        device = self.llm.get_input_embeddings().weight.device
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
            cache = self._kept.rows(prompt[:-1], len(rows))
            found = self.llm(input_ids=inputs, past_key_values=cache, use_cache=True).logits.float()
            _checks.predicted("LineWriter.score", found.amax(-1, keepdim=True)[targets >= 0])
            loss = torch.nn.functional.cross_entropy(
                found.flatten(0, 1), targets.flatten(), reduction="none"
            )
            log_p[rows] = -loss.view_as(inputs).sum(dim=1).double().cpu().numpy()
        return Candidates(tuple(texts), log_p, np.array([len(line) for line in lines]))

    @checked
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
            The tokenizer does not return the places of its tokens, the text is empty, the prompt is
            empty or has tokens that are not in the vocabulary, or both do not fit into the context
            of the language model. Also raised if the model predicts logits that are not finite.
        """
        self.require_places()
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = found["input_ids"]
        if not ids:
            raise InputError(
                "LineWriter.next_words: text must have a token, got an empty one. Leave it out."
            )
        check_prompts("LineWriter.next_words", self.llm, [prompt], [len(ids)])
        device = self.llm.get_input_embeddings().weight.device
        inputs = torch.tensor([[prompt[-1], *ids[:-1]]], device=device)
        logits = self.llm(
            input_ids=inputs, past_key_values=self._kept.rows(prompt[:-1], 1), use_cache=True
        ).logits[0]
        log_p = _checks.predicted("LineWriter.next_words", logits.float()).log_softmax(-1)
        return NextWords(
            tuple(map(tuple, found["offset_mapping"])), np.array(ids), log_p.cpu().numpy()
        )

    def require_places(self) -> None:
        """Raise if the tokenizer does not return the places of its tokens in a text.

        Raises
        ------
        InputError
            It is a slow tokenizer.
        """
        if not self.tokenizer.is_fast:
            raise InputError(
                "LineWriter: tokenizer must return the place of each token, got a slow one. Use a "
                "language model with a tokenizer.json."
            )

    @property
    def context(self) -> int | None:
        """Largest number of tokens of prompt and line together, None without a limit."""
        return _checks.language_model("LineWriter", self.llm).context

    def fitting(self, prompt: Sequence[int], texts: Sequence[str]) -> list[str]:
        """Return the texts that :meth:`score` has room for after a prompt."""
        most = self.context
        if most is None:
            return list(texts)
        return [text for text in texts if len(prompt) + len(self._line(text)) <= most]

    def _step(self, tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        places = (mask.cumsum(dim=1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        found = self.llm(
            input_ids=tokens, attention_mask=mask, position_ids=places, past_key_values=cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        logits = _checks.predicted("LineWriter.write", found.logits[:, -1].float())
        return logits, found.past_key_values

    def _line(self, text: str) -> list[int]:
        return self._encode(f"{' '.join(text.split())}\n")

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _pieces(tokenizer: Any, size: int) -> list[str]:
    known = min(size, len(tokenizer))
    return [str(text) for text in tokenizer.batch_decode([[i] for i in range(known)])]
