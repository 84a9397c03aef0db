"""Fit of the steering of BrainLLM: a bias on word probabilities that depends on the brain only.

The fit treats texts as bags of words and is a log-linear model, convex in its weights. The
validation part chooses the penalty, with the language model and its context in the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..._arguments import checked
from ...data import FitScope
from ...errors import ConfigError
from ...lm.tokenization import encode_context, encode_continuations
from ..model import BrainLLM
from .dataset import BrainTexts
from .presets import BrainLLMTraining

_AT_ONCE = 512  # samples per chunk: each needs a row of vocabulary size in memory
_SMOOTHING = 0.02  # added to the count of every word, for words that no training text contains


@dataclass(frozen=True)
class SteeringFit:
    """Result of :func:`fit_steering`: chosen penalty and validation scores.

    Parameters
    ----------
    penalty : float
        Penalty with the lowest validation loss; infinite if steering does not lower it.
    nll : dict
        Validation loss in nats per token for each penalty; the key infinity is no steering.
    fitted_on : tuple of str
        Training samples.
    """

    penalty: float
    nll: dict[float, float]
    fitted_on: tuple[str, ...]

    @property
    def scope(self) -> FitScope:
        """Samples the steering was fitted on, for the leak audit."""
        return FitScope("steering", self.fitted_on)


@checked
@torch.no_grad()
def fit_steering(
    model: BrainLLM, train: BrainTexts, val: BrainTexts, config: BrainLLMTraining
) -> SteeringFit:
    """Fit the steering weights on the training part; the validation part chooses the penalty.

    Parameters
    ----------
    model : BrainLLM
        A model with steering. The fit does not depend on its other trained parts.
    train, val : BrainTexts
    config : BrainLLMTraining

    Returns
    -------
    SteeringFit

    Raises
    ------
    ConfigError
        The model has no steering.

    Notes
    -----
    L-BFGS minimises the nats per token of words under softmax(log corpus frequency + head · W x)
    plus penalty / (2 k) times the squared weights W. Here x is the window's mean divided by the
    mean standard deviation of its k components. The chosen penalty gives the lowest negative log
    likelihood of the validation texts under the language model with prompt and text as context.
    """
    if model.steer is None:
        raise ConfigError("fit_steering: the model must have steering, got none.")
    weight = model.steer.weight
    scale = float(train.windows.mean(dim=1).std(dim=0).mean())
    bags = _Bags.of(model, train, config)
    unheard = [_alone(model, p, t, config) for p, t in zip(val.prompts, val.texts, strict=True)]

    def surprise() -> float:
        bias = model.logit_bias(val.windows)
        assert bias is not None
        nll = sum(
            float(torch.nn.functional.cross_entropy(log_p + own, said, reduction="sum"))
            for (said, log_p), own in zip(unheard, bias, strict=True)
        )
        return nll / sum(len(said) for said, _ in unheard)

    found: dict[float, tuple[float, Tensor]] = {}
    weight.zero_()
    found[float("inf")] = surprise(), weight.clone()
    # from the strongest penalty to the weakest, each started at the previous solution
    for penalty in sorted(config.steering_penalties, reverse=True):
        weight.copy_(bags.fitted(weight, penalty * scale**2 / model.config.features))
        found[penalty] = surprise(), weight.clone()
    best = min(found, key=lambda penalty: found[penalty][0])
    weight.copy_(found[best][1])
    return SteeringFit(best, {p: nll for p, (nll, _) in found.items()}, train.trial_ids)


@dataclass(frozen=True, eq=False)
class _Bags:
    """Training data of the log-linear model: mean windows, token ids and corpus frequencies."""

    windows: Tensor  # (N, k)
    ids: Tensor  # (N, A)
    mask: Tensor  # (N, A)
    base: Tensor  # (V,)
    head: Tensor  # (V, d)

    @classmethod
    def of(cls, model: BrainLLM, data: BrainTexts, config: BrainLLMTraining) -> _Bags:
        ids, mask = encode_continuations(
            model.text_tokenizer,
            data.texts,
            max_tokens=config.max_text_tokens,
            end=config.end,
            spaces=model.layout.spaces(model.text_tokenizer, data.prompts),
            device=model.device,
        )
        head = model.llm.get_output_embeddings().weight.float()
        counts = torch.bincount(ids[mask], minlength=len(head)) + _SMOOTHING
        base = (counts / counts.sum()).log().to(head)
        return cls(data.windows.mean(dim=1).to(head), ids, mask, base, head)

    def fitted(self, start: Tensor, penalty: float) -> Tensor:
        """Weights (d, k) that minimise nats per token plus penalty / 2 times their squares."""
        weight = start.detach().clone().requires_grad_(True)
        optimiser = torch.optim.LBFGS(
            [weight], max_iter=10, tolerance_change=1e-6, line_search_fn="strong_wolfe"
        )
        tokens = self.mask.sum()

        def closure() -> Tensor:
            optimiser.zero_grad()
            total = 0.5 * penalty * weight.square().sum()
            total.backward()
            for rows in torch.arange(len(self.ids)).split(_AT_ONCE):
                log_p = torch.log_softmax(
                    self.base + self.windows[rows] @ weight.T @ self.head.T, dim=1
                )
                loss = -(log_p.gather(1, self.ids[rows]) * self.mask[rows]).sum() / tokens
                loss.backward()
                total = total + loss
            return total.detach()

        with torch.enable_grad():
            optimiser.step(closure)
        return weight.detach()


def _alone(
    model: BrainLLM, prompt: str | tuple[int, ...], text: str, config: BrainLLMTraining
) -> tuple[Tensor, Tensor]:
    """Tokens of a text (T,), and log probabilities (T, V) of each next token without a brain."""
    tokenizer, device = model.text_tokenizer, model.device
    prompts, _ = encode_context(
        tokenizer, [prompt], max_tokens=config.max_prompt_tokens, keep=config.keep, device=device
    )
    ids, _ = encode_continuations(
        tokenizer,
        [text],
        max_tokens=config.max_text_tokens,
        end=config.end,
        spaces=model.layout.spaces(tokenizer, [prompt]),
        device=device,
    )
    with model.untuned():
        before, _ = model.before_text(model.no_brain(1), prompts)
    model.check_room(before.shape[1], ids.shape[1])
    spoken = model.llm.get_input_embeddings()(ids[:, :-1])
    logits = model.llm(
        inputs_embeds=torch.cat([before, spoken], dim=1),
        use_cache=False,
        logits_to_keep=ids.shape[1],
    ).logits[0]
    return ids[0], torch.log_softmax(logits.float(), dim=1)
