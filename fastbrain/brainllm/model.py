"""BrainLLM: brain volumes as input embeddings of a frozen language model (arXiv 2311.09889).

::

    [BOS | <brain/> v1 .. vt </brain> | prompt | text]      v_i = decoder(b_i + p_i)

Where a model's documents begin with another token than BOS, that token takes its place.
Re-implemented from the paper's description. The decoder, the two marks and the positions are
trained; the language model is frozen and in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..lm.context import context_of
from ..lm.likelihood import answer_nll, layout, recomputes
from ..lm.lora import TunedLLM, is_adapter, without_adapter
from ..lm.prompt_layout import prompt_layout
from ..lm.shared_prompt import SharedPrompt
from ..nn.external_parts import leave_out
from .config import BrainLLMConfig
from .decoder import brain_decoder


class BrainLLM(nn.Module):
    """Brain decoder, marks and optional steering around a frozen LLM.

    The state dict does not contain the weights of the LLM.

    Parameters
    ----------
    config : BrainLLMConfig
    llm : PreTrainedModel
        Any causal LM that accepts `inputs_embeds`.
    tuned : TunedLLM, optional
        LoRA on `llm`; it is in the state dict.
    text_tokenizer : PreTrainedTokenizer
        Tokenizer of the LLM, with EOS, padding and what the layout of `config` begins with.

    Raises
    ------
    InputError
        The tokenizer lacks one of these tokens.
    """

    def __init__(
        self,
        config: BrainLLMConfig,
        *,
        llm: Any,
        text_tokenizer: Any,
        tuned: TunedLLM | None = None,
    ) -> None:
        super().__init__()
        for name in ("pad", "eos"):
            if getattr(text_tokenizer, f"{name}_token_id", None) is None:
                raise InputError(
                    f"BrainLLM: text_tokenizer must have a {name} token, got none. Set "
                    f"tokenizer.{name}_token, for instance to its end token."
                )
        self.config, self.text_tokenizer = config, text_tokenizer
        self.layout = prompt_layout(text_tokenizer, llm, kind=config.layout)
        words = llm.get_input_embeddings().weight.detach()
        head = llm.get_output_embeddings().weight
        self.decoder = brain_decoder(config, words.shape[1]) if config.decoder != "none" else None
        self.positions = None
        if config.additive_position:
            self.positions = nn.Parameter(torch.empty(config.frames, config.features))
            nn.init.uniform_(self.positions, -1, 1)
        # the marks start as draws from the distribution of the word embeddings
        mean, std = words.float().mean(dim=0), words.float().std(dim=0)
        self.marks = nn.Parameter(mean + std * torch.randn(2, len(mean)).to(mean))
        self.steer = None
        if config.steering:
            self.steer = nn.Linear(config.features, head.shape[1], bias=False)
            nn.init.zeros_(self.steer.weight)
        self._plain = False
        self.llm = llm.requires_grad_(False).eval()
        self.tuned = tuned
        # folder of the adapter that was merged into the language model on loading
        self.adapter_folder: Path | None = None
        # of the language model before that adapter was merged into it
        self.base_digest: str | None = None
        leave_out(self, ("llm.",), but=lambda name: self.tuned is not None and is_adapter(name))

    def train(self, mode: bool = True) -> BrainLLM:
        """Set the mode of the trainable parts; the LLM stays in evaluation mode."""
        super().train(mode)
        self.llm.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.marks.device

    @property
    def speaks(self) -> bool:
        """Whether brain tokens precede the text, independently of steering."""
        return self.decoder is not None

    @property
    def context(self) -> int | None:
        """Context length of the language model; None if its configuration gives no limit."""
        return context_of(self.llm)

    def words(self, windows: Tensor) -> Tensor:
        """Map volumes (B, t, k) to brain token embeddings (B, t, d_llm).

        Raises
        ------
        InputError
            A window has no volume, too many volumes or the wrong number of components, or the
            model has no decoder.
        """
        self._check_windows(windows)
        if self.decoder is None:
            raise InputError("BrainLLM: decoder must not be 'none' for words, got a steered model.")
        windows = windows.to(self.marks)
        if self.positions is not None:
            windows = windows + self.positions[: windows.shape[1]]
        return self.decoder(windows)

    def _check_windows(self, windows: Tensor) -> None:
        frames, features = self.config.frames, self.config.features
        if windows.ndim != 3 or windows.shape[2] != features or not 1 <= windows.shape[1] <= frames:
            raise InputError(
                f"BrainLLM: windows must be (B, t, {features}) with 1 to {frames} volumes, got "
                f"{tuple(windows.shape)}."
            )

    def prefix(self, windows: Tensor) -> Tensor:
        """Brain tokens between the two marks, (B, t + 2, d_llm); empty without a decoder."""
        if self.decoder is None:
            self._check_windows(windows)
            return self.marks.new_empty(len(windows), 0, self.marks.shape[1])
        words = self.words(windows)
        first, last = self.marks.to(words)[:, None, None].expand(2, len(words), 1, -1)
        return torch.cat([first, words, last], dim=1)

    def no_brain(self, count: int) -> Tensor:
        """Marks without brain tokens between them, (count, 2, d_llm).

        Empty without a decoder, and within :meth:`untuned`.
        """
        marks = self.marks[:0] if self._plain or self.decoder is None else self.marks
        return marks.expand(count, *marks.shape)

    def logit_bias(self, windows: Tensor) -> Tensor | None:
        """Steering term added to the logits, (B, V); None without steering."""
        if self.steer is None:
            return None
        self._check_windows(windows)
        head = self.llm.get_output_embeddings().weight
        return self.steer(windows.to(self.marks).mean(dim=1)) @ head.T.to(self.marks)

    def before_text(
        self, prefix: Tensor, prompt_ids: Tensor, *, prompt_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Embeddings of everything before the text; training, scoring and generation use it.

        Parameters
        ----------
        prefix : Tensor, (B, L, d_llm)
            From :meth:`prefix` or :meth:`no_brain`.
        prompt_ids : Tensor, (B, P) int64
        prompt_mask : Tensor, (B, P) bool, optional

        Returns
        -------
        embeddings : Tensor, (B, T, d_llm)
        mask : Tensor, (B, T) bool, or None
            None when nothing is padded.

        Raises
        ------
        InputError
            Nothing precedes the text.
        """
        if prompt_mask is not None and bool(prompt_mask.all()):
            prompt_mask = None
        return layout(
            self.llm,
            prefix,
            prompt_ids,
            prompt_mask=prompt_mask,
            start=self.layout.start,
            turn=self.layout.turn,
            prompt_first=self.config.position == "after-prompt",
        )

    def shared_prompt(self, prompt_ids: Tensor) -> SharedPrompt:
        """Compute keys and values of start and prompt (P,) once for all brains that follow them.

        Raises
        ------
        InputError
            The brain precedes the prompt, so that the prompt's keys and values depend on it.
        """
        if self.config.position != "after-prompt":
            raise InputError(
                "BrainLLM: position must be 'after-prompt' to share a prompt, got "
                f"{self.config.position!r}."
            )
        start = prompt_ids.new_tensor(self.layout.start)
        return SharedPrompt(self.llm, torch.cat([start, prompt_ids]))

    def after_prompt(self, prefix: Tensor) -> Tensor:
        """Embeddings (B, L + turn, d_llm) that follow a shared prompt, before the text."""
        embed = self.llm.get_input_embeddings()
        prefix = prefix.to(embed.weight.dtype)
        if not self.layout.turn:
            return prefix
        turn = embed(torch.tensor(self.layout.turn, device=prefix.device))
        return torch.cat([prefix, turn.expand(len(prefix), -1, -1)], dim=1)

    def text_nll(
        self,
        windows: Tensor,
        prompt_ids: Tensor,
        text_ids: Tensor,
        text_mask: Tensor,
        *,
        prompt_mask: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Negative log likelihood of every token of each text, (B, A) float32, nats.

        The vocabulary projection is computed at the text tokens only. A prompt common to all rows
        is computed once if the brain follows it; a brain and its prompt are computed once for all
        texts that continue them.

        Parameters
        ----------
        windows : Tensor, (N, t, k)
        prompt_ids : Tensor, (N, P) int64
        text_ids : Tensor, (B, A) int64
        text_mask : Tensor, (B, A) bool
            Padding is at the end.
        prompt_mask : Tensor, (N, P) bool, optional
        rows : Tensor, (B,) int64, optional
            Index of the window and prompt that each text continues. Default: N = B, one each.

        Raises
        ------
        InputError
            Brain, prompt and text together are longer than the language model's context.
        """
        prefix, bias = self.prefix(windows), self.logit_bias(windows)
        total = len(self.layout) + prompt_ids.shape[1] + prefix.shape[1]
        self.check_room(total, text_ids.shape[1])
        # layers with activation recomputation keep no keys and values that could be shared
        if rows is not None and recomputes(self.llm):
            prefix, prompt_ids = prefix[rows], prompt_ids[rows]
            prompt_mask = None if prompt_mask is None else prompt_mask[rows]
            bias, rows = None if bias is None else bias[rows], None
        after = None
        if self._one_prompt(prompt_ids, prompt_mask) and prefix.shape[1]:
            after = self.shared_prompt(prompt_ids[0])
            before, mask = self.after_prompt(prefix), None
        else:
            before, mask = self.before_text(prefix, prompt_ids, prompt_mask=prompt_mask)
        return answer_nll(
            self.llm, before, mask, text_ids, text_mask, logit_bias=bias, rows=rows, after=after
        )

    def _one_prompt(self, prompt_ids: Tensor, prompt_mask: Tensor | None) -> bool:
        if self.config.position != "after-prompt" or len(prompt_ids) < 2:
            return False
        whole = prompt_mask is None or bool(prompt_mask.all())
        # keys and values of a shared prompt carry no gradient to LoRA
        learning = self.tuned is not None and torch.is_grad_enabled()
        same = whole and not learning and bool((prompt_ids == prompt_ids[:1]).all())
        return same and not recomputes(self.llm)

    def check_room(self, before: int, text: int) -> None:
        """Raise InputError if a sequence is longer than the language model's context."""
        if self.context is not None and before + text > self.context:
            raise InputError(
                f"BrainLLM: brain, prompt and text must fit the context of {self.context} tokens, "
                f"got {before} + {text}. Shorten the prompt or the text."
            )

    @contextmanager
    def untuned(self) -> Iterator[None]:
        """Context manager of the untuned LLM, before which no learned token is (StdLLM)."""
        self._plain = True
        try:
            with without_adapter(self.llm, self.adapter_folder):
                yield
        finally:
            self._plain = False
