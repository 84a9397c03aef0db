"""Adapter that runs LLM4Brain under the evaluation controls, each sample with its own question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..decoding import Sampling, mean_nll, score_pairs
from ..decoding.opening import Opening
from ..decoding.texts import write_texts
from ..errors import InputError
from ..lm.lora import without_adapter
from ..lm.tokenization import encode_answers, encode_prompts
from .model import LLM4Brain
from .questions import saved_prompt

_ROWS = 64  # windows per generation batch


class LLM4BrainDecoder:
    """Adapter of LLM4Brain to the decoder interface of the controls.

    Parameters
    ----------
    model : LLM4Brain
    prompt : str, optional
        Question of a text without one of its own. Default: the prompt the model was saved with.
    prompts : sequence of str, (N,), optional
        Question of each sample, "" for `prompt`: text j answers question j, whichever brain it is
        paired with. Default: `prompt` for any number of samples.
    sampling : Sampling, optional
        Default: greedy, at most 32 tokens.
    rows_at_once : int
        Maximum number of rows in one forward pass of scoring.
    engine : bool
        Whether the decode engine writes; see :func:`fastbrain.decoding.texts.choose_engine`.

    Raises
    ------
    InputError
        A sample has no question.
    """

    def __init__(
        self,
        model: LLM4Brain,
        *,
        prompt: str | None = None,
        prompts: Sequence[str] = (),
        sampling: Sampling | None = None,
        rows_at_once: int = 256,
        engine: bool = False,
    ) -> None:
        spare = prompt if prompt is not None else saved_prompt(model)
        asked = tuple(own or spare for own in prompts) or (spare,)
        if not all(asked):
            raise InputError("LLM4BrainDecoder: prompt must be given for a model without a card.")
        self.model, self.sampling, self.rows_at_once = model.eval(), sampling, rows_at_once
        self.engine = engine
        # one question for all samples is encoded once, and all samples share its batches
        self.prompts = asked if len(set(asked)) > 1 else asked[:1]
        self._ids = {
            question: encode_prompts(model.text_tokenizer, [question], device=model.device)[0][0]
            for question in dict.fromkeys(asked)
        }

    @torch.no_grad()
    def read(self, brains: Iterable[Any]) -> Tensor:
        """Compute brain prefixes (N, n_queries, d_llm) of batches with `voxels`."""
        parts = [
            self.model.prefix(batch.voxels.to(self.model.device), batch.subjects)
            for batch in brains
        ]
        if not parts:
            raise InputError("LLM4BrainDecoder.read: brains must not be empty.")
        return torch.cat(parts)

    @torch.no_grad()
    def read_nothing(self) -> Tensor:
        """Return prefixes of no token: one for each question, or a single one."""
        projection = self.model.projection
        return projection.weight.new_zeros(len(self.prompts), 0, projection.out_features)

    @torch.no_grad()
    def write(self, prefixes: Tensor) -> list[str]:
        """Generate the free-running answer of every prefix to its own question."""
        texts = [""] * len(prefixes)
        for question, rows in self._by_question("write", "prefixes", len(prefixes)):
            # without a brain all samples with the same question get the same text
            one = prefixes.shape[1] == 0
            said = self._write(prefixes[rows[:1] if one else rows], question)
            for row, text in zip(rows, said * len(rows) if one else said, strict=True):
                texts[row] = text
        return texts

    def _write(self, prefixes: Tensor, question: str) -> list[str]:
        texts: list[str] = []
        for rows in prefixes.split(_ROWS):
            texts += write_texts(
                self.model.llm,
                self.model.text_tokenizer,
                self.model.before_answer(rows, self._ids[question])[0],
                sampling=self.sampling,
                engine=self.engine,
            )
        return texts

    @torch.no_grad()
    def opening(self, prefixes: Tensor) -> Opening:
        """Return what the language model reads before the answers to the one question of all.

        Raises
        ------
        InputError
            There are several questions.
        """
        if len(self.prompts) != 1:
            raise InputError(
                f"LLM4BrainDecoder.opening: there must be one question, got {len(self.prompts)}."
            )
        ids, model = self._ids[self.prompts[0]], self.model
        if not model.config.prompt_first:
            return Opening(*model.before_answer(prefixes, ids))
        words = model.llm.get_input_embeddings().weight
        return Opening(
            prefixes.to(words.dtype), prompt_ids=torch.cat([ids.new_tensor(model.start), ids])
        )

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens by which texts are scored, the end token included."""
        ids, mask = encode_answers(self.model.text_tokenizer, texts)
        return [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)]

    def _by_question(self, function: str, what: str, count: int) -> Iterator[tuple[str, list[int]]]:
        """Yield each question with the samples that it is asked of."""
        if len(self.prompts) not in (1, count):
            raise InputError(
                f"LLM4BrainDecoder.{function}: {what} must be one a question, {len(self.prompts)}, "
                f"got {count}."
            )
        rows: dict[str, list[int]] = {}
        for row, question in enumerate(self.prompts * (count if len(self.prompts) == 1 else 1)):
            rows.setdefault(question, []).append(row)
        yield from rows.items()

    def score(
        self, prefixes: Tensor, texts: Sequence[str], pairs: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Compute the teacher-forced mean NLL (K,) of (prefix, text) pairs (K, 2).

        Text j answers question j, whichever brain it is paired with.
        """
        nll, mask = self.score_tokens(prefixes, texts, pairs)
        return mean_nll(torch.from_numpy(nll), torch.from_numpy(mask)).double().numpy()

    @torch.no_grad()
    def score_tokens(
        self, prefixes: Tensor, texts: Sequence[str], pairs: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Compute the teacher-forced negative log-likelihood of every token.

        Returns
        -------
        nll : ndarray, (K, T) float32
            Nats; each text ends with its end token.
        mask : ndarray, (K, T) bool
            False at padding.
        """
        ids, mask = encode_answers(self.model.text_tokenizer, texts, device=self.model.device)
        wanted = torch.from_numpy(pairs)
        nll = torch.zeros(len(wanted), ids.shape[1], device=ids.device)
        for question, of in self._by_question("score", "texts", len(texts)):
            rows = torch.isin(wanted[:, 1], torch.tensor(of)).nonzero()[:, 0]
            if not len(rows):
                continue
            brains, brain_of = wanted[rows, 0].unique(return_inverse=True)
            nll[rows] = score_pairs(
                self.model.llm,
                self.model.before_answer(prefixes[brains], self._ids[question])[0],
                ids,
                mask,
                torch.stack([brain_of, wanted[rows, 1]], dim=1),
                rows_at_once=self.rows_at_once,
            )
        return nll.cpu().numpy(), mask.cpu()[wanted[:, 1]].numpy()

    def features(self, prefixes: Tensor) -> npt.NDArray[np.float64]:
        """Compute the mean embedding of every prefix, (N, d_llm)."""
        return prefixes.float().mean(dim=1).cpu().double().numpy()

    def untuned(self) -> AbstractContextManager[None] | None:
        """Context manager that takes the PEFT adapters off the LLM; None if it has none."""
        if self.model.adapter_folder is not None:
            return without_adapter(self.model.llm, self.model.adapter_folder)
        return _adapters_off(self.model.llm) if _adapter_layers(self.model.llm) else None


def _adapter_layers(llm: Any) -> list[Any]:
    # layers and fully trained modules of PEFT, detected by interface because PEFT is optional
    wanted = ("adapter_layer_names", "enable_adapters")
    return [m for m in llm.modules() if all(hasattr(m, name) for name in wanted)]


@contextmanager
def _adapters_off(llm: Any) -> Iterator[None]:
    layers = _adapter_layers(llm)
    before = [layer.disable_adapters for layer in layers]
    merged = [layer for layer in layers if getattr(layer, "merged", False)]
    if merged:
        raise InputError(
            f"untuned: adapters must not be merged into the language model, got {len(merged)} "
            "layers where they are. Unmerge them first."
        )
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer, off in zip(layers, before, strict=True):
            layer.enable_adapters(not off)
