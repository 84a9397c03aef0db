"""Training objectives of BrainLLM: warm-up towards word vectors, and prompt tuning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...lm.tokenization import encode_context, encode_continuations
from ...nn import shards
from ...training.loop import Objective
from ..model import BrainLLM
from .dataset import BrainTexts
from .presets import BrainLLMTraining


class _Reading(Objective):
    """Base of the objectives: a BrainLLM, and token ids of prompts and texts."""

    def __init__(self, model: BrainLLM, config: BrainLLMTraining) -> None:
        super().__init__()
        self.model, self.config = model, config

    def prompt(self, batch: BrainTexts) -> tuple[Tensor, Tensor]:
        """Token ids and mask of the prompts, (B, P)."""
        return encode_context(
            self.model.text_tokenizer,
            batch.prompts,
            max_tokens=self.config.max_prompt_tokens,
            keep=self.config.keep,
            device=self.model.device,
        )

    def text(self, batch: BrainTexts) -> tuple[Tensor, Tensor]:
        """Token ids and mask of the texts, (B, A)."""
        return encode_continuations(
            self.model.text_tokenizer,
            batch.texts,
            max_tokens=self.config.max_text_tokens,
            end=self.config.end,
            spaces=self.model.layout.spaces(self.model.text_tokenizer, batch.prompts),
            device=self.model.device,
        )


class WarmUp(_Reading):
    """Mean squared error between each volume's vector and the mean word vector of the sample."""

    def forward(self, batch: BrainTexts) -> dict[str, Tensor]:
        """Compute the loss of a batch."""
        ids, mask = self.prompt(batch) if self.config.target == "prompt" else self.text(batch)
        words = self.model.llm.get_input_embeddings()(ids).float()
        # the mean excludes padding, and samples without a prompt have no target
        some = mask.any(dim=1)
        mean = (words * mask[..., None]).sum(dim=1)[some] / mask.sum(dim=1)[some, None]
        found = self.model.words(batch.windows)
        if not some.any():
            return {"loss": shards.share(0.0 * found.sum(), 0)}
        loss = F.mse_loss(found[some], mean[:, None].expand_as(found[some]))
        return {"loss": shards.share(loss, some.sum())}


class PromptTuning(_Reading):
    """Cross entropy of the texts under the frozen language model."""

    def forward(self, batch: BrainTexts) -> dict[str, Tensor]:
        """Compute the loss of a batch."""
        nll, tokens = self.total(batch)
        return {"loss": shards.share(nll / tokens, tokens)}

    def total(self, batch: BrainTexts) -> tuple[Tensor, int]:
        """Summed negative log likelihood of a batch in nats, and its number of tokens."""
        # texts with the same prompt and brain share the computation of both
        first: dict[tuple[str | tuple[int, ...], bytes], int] = {}
        keys = [
            (prompt, window.tobytes())
            for prompt, window in zip(batch.prompts, batch.windows.cpu().numpy(), strict=True)
        ]
        of = [first.setdefault(key, len(first)) for key in keys]
        fronts, rows = batch, None
        # dropout draws a mask for each row of the joined batch, of which this may be a shard
        if len(first) < len(of) and shards.current() is None:
            fronts = batch.take([of.index(i) for i in range(len(first))])
            rows = torch.tensor(of, device=self.model.device)
        prompt_ids, prompt_mask = self.prompt(fronts)
        text_ids, text_mask = self.text(batch)
        nll = self.model.text_nll(
            fronts.windows, prompt_ids, text_ids, text_mask, prompt_mask=prompt_mask, rows=rows
        )
        return nll.sum(), int(text_mask.sum())
