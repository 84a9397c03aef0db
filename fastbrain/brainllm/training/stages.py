"""Training stages of BrainLLM: steering, warm-up towards word vectors, then prompt tuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._arguments import checked
from ...errors import ConfigError, LeakError
from ...lm.tokenization import encode_context, encode_continuations
from ...training.loop import Objective, fit
from ...training.run import History
from ..model import BrainLLM
from .dataset import BrainTextLoader, BrainTexts
from .presets import BrainLLMTraining
from .steering import SteeringFit, fit_steering


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
            device=self.model.device,
        )


class WarmUp(_Reading):
    """Mean squared error between each volume's vector and the mean word vector of the sample."""

    def forward(self, batch: BrainTexts) -> dict[str, Tensor]:
        """Compute the loss of a batch."""
        ids, mask = self.prompt(batch) if self.config.target == "prompt" else self.text(batch)
        words = self.model.llm.get_input_embeddings()(ids).float()
        # the mean excludes padding
        mean = (words * mask[..., None]).sum(dim=1) / mask.sum(dim=1)[:, None]
        found = self.model.words(batch.windows)
        return {"loss": F.mse_loss(found, mean[:, None].expand_as(found))}


class PromptTuning(_Reading):
    """Cross entropy of the texts under the frozen language model."""

    def forward(self, batch: BrainTexts) -> dict[str, Tensor]:
        """Compute the loss of a batch."""
        nll, tokens = self.total(batch)
        return {"loss": nll / tokens}

    def total(self, batch: BrainTexts) -> tuple[Tensor, int]:
        """Summed negative log likelihood of a batch in nats, and its number of tokens."""
        # texts with the same prompt and brain share the computation of both
        first: dict[tuple[str, bytes], int] = {}
        keys = [
            (prompt, window.tobytes())
            for prompt, window in zip(batch.prompts, batch.windows.cpu().numpy(), strict=True)
        ]
        of = [first.setdefault(key, len(first)) for key in keys]
        fronts, rows = batch, None
        if len(first) < len(of):
            fronts = batch.take([of.index(i) for i in range(len(first))])
            rows = torch.tensor(of, device=self.model.device)
        prompt_ids, prompt_mask = self.prompt(fronts)
        text_ids, text_mask = self.text(batch)
        nll = self.model.text_nll(
            fronts.windows, prompt_ids, text_ids, text_mask, prompt_mask=prompt_mask, rows=rows
        )
        return nll.sum(), int(text_mask.sum())


@checked
def train_brainllm(
    model: BrainLLM,
    train: BrainTexts,
    val: BrainTexts,
    config: BrainLLMTraining,
    *,
    run_dir: str | Path,
    resume: bool = False,
) -> dict[str, History | SteeringFit]:
    """Train a BrainLLM; the validation part is used for early stopping and the steering penalty.

    Parameters
    ----------
    model : BrainLLM
    train, val : BrainTexts
        Two disjoint parts. The test part must not be passed.
    config : BrainLLMTraining
        For instance from :func:`brainllm_preset`.
    run_dir : str or Path
        Each stage writes into its own subfolder.
    resume : bool
        Continue from the newest checkpoints.

    Returns
    -------
    dict
        ``"warmup"`` and ``"tune"`` map to a History, ``"steering"`` to a SteeringFit.

    Raises
    ------
    LeakError
        A sample or an identical window is in both parts.
    ConfigError
        The target of the warm-up is the prompt, and a sample has none.
    InputError
        A text is longer than allowed; texts are never truncated silently.
    """
    _disjoint(train, val)
    if config.warmup and config.target == "prompt" and not all(p.strip() for p in train.prompts):
        raise ConfigError(
            "train_brainllm: target must not be 'prompt' where a sample has none. Take "
            "target='continuation'."
        )
    done: dict[str, History | SteeringFit] = {}
    if model.steer is not None:
        done["steering"] = fit_steering(model, train, val, config)
    for name, stage, kind in (
        ("warmup", config.warmup, WarmUp),
        ("tune", config.tune, PromptTuning),
    ):
        if stage is None or not model.speaks:
            continue
        objective = kind(model, config)
        model.requires_grad_(True)
        model.llm.requires_grad_(False)
        # the warm-up does not use the marks, and steering is already fitted
        model.marks.requires_grad_(name == "tune")
        if model.steer is not None:
            model.steer.requires_grad_(False)
        loader = BrainTextLoader(train, batch_size=stage.batch_size, seed=stage.seed)
        done[name] = fit(
            objective,
            loader,
            stage,
            run_dir=Path(run_dir) / name,
            resume=resume,
            validate=_validation(objective, val, stage.batch_size),
        )
    return done


def _validation(objective: _Reading, val: BrainTexts, batch_size: int):  # type: ignore[no-untyped-def]
    def validate() -> Mapping[str, float]:
        batches = BrainTextLoader(val, batch_size=batch_size, shuffle=False)
        if isinstance(objective, PromptTuning):
            totals = [objective.total(batch) for batch in batches]
            return {"loss": float(sum(n for n, _ in totals)) / sum(t for _, t in totals)}
        sums = [float(objective(batch)["loss"]) * len(batch) for batch in batches]
        return {"loss": sum(sums) / len(val)}

    return validate


def _disjoint(train: BrainTexts, val: BrainTexts) -> None:
    shared = sorted(set(train.trial_ids) & set(val.trial_ids))
    rows = {w.numpy().tobytes() for w in train.windows.float().cpu()}
    same = sum(w.numpy().tobytes() in rows for w in val.windows.float().cpu())
    if shared or same:
        raise LeakError(
            f"train_brainllm: train and val must be disjoint, got {len(shared)} samples "
            f"{shared[:3]} and {same} identical windows in both."
        )
