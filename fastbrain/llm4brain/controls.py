"""Run LLM4Brain on all controls, and on views of its store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._arguments import checked
from ..data import VoxelStore, WindowLoader
from ..decoding import Sampling, generate, mean_nll, score_pairs
from ..errors import InputError
from ..evaluation.controls.conditions import TRUE, Conditions, pairwise_score
from ..evaluation.controls.noise import Noise, noise_store
from ..evaluation.controls.run_controls import run_controls
from ..evaluation.scores import Score
from ..lm.end_tokens import end_tokens_of
from ..lm.tokenization import encode_answers, encode_prompts
from ..stats.derangements import derangements, needed_pairs
from .model import LLM4Brain

_ROWS = 64  # windows per generation batch


class LLM4BrainDecoder:
    """Adapter of LLM4Brain to the decoder interface of the controls.

    Parameters
    ----------
    model : LLM4Brain
    prompt : str, optional
        Default: the prompt the model was saved with.
    sampling : Sampling, optional
        Default: greedy, at most 32 tokens.
    rows_at_once : int
        Maximum number of rows in one forward pass of scoring.

    Raises
    ------
    InputError
        There is no prompt.
    """

    def __init__(
        self,
        model: LLM4Brain,
        *,
        prompt: str | None = None,
        sampling: Sampling | None = None,
        rows_at_once: int = 256,
    ) -> None:
        prompt = prompt if prompt is not None else getattr(model.card, "prompt", "")
        if not prompt:
            raise InputError("LLM4BrainDecoder: prompt must be given for a model without a card.")
        self.model, self.sampling, self.rows_at_once = model.eval(), sampling, rows_at_once
        self._prompt_ids = encode_prompts(model.text_tokenizer, [prompt], device=model.device)[0][0]

    @torch.no_grad()
    def read(self, brains: Iterable[Any]) -> Tensor:
        """Compute embeddings (N, S, d_llm) before the text, of batches with `voxels`."""
        model = self.model
        parts = [model.before_answer(self._prefix(batch), self._prompt_ids)[0] for batch in brains]
        if not parts:
            raise InputError("LLM4BrainDecoder.read: brains must not be empty.")
        return torch.cat(parts)

    def _prefix(self, batch: Any) -> Tensor:
        return self.model.prefix(batch.voxels.to(self.model.device), batch.subjects)

    @torch.no_grad()
    def read_nothing(self) -> Tensor:
        """Compute embeddings (1, S, d_llm) of the prompt alone."""
        nothing = self.model.projection.weight.new_zeros(1, 0, self.model.projection.out_features)
        return self.model.before_answer(nothing, self._prompt_ids)[0]

    def write(self, prefixes: Tensor) -> list[str]:
        """Generate the free-running text of every prefix."""
        tokenizer = self.model.text_tokenizer
        texts: list[str] = []
        for rows in prefixes.split(_ROWS):
            said = generate(
                self.model.llm,
                rows,
                eos_token_id=end_tokens_of(tokenizer, self.model.llm),
                pad_token_id=tokenizer.pad_token_id,
                sampling=self.sampling,
            )
            texts += said.texts(tokenizer)
        return texts

    def score(
        self, prefixes: Tensor, texts: Sequence[str], pairs: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Compute the teacher-forced mean NLL (K,) of (prefix, text) pairs (K, 2)."""
        nll, mask = self.score_tokens(prefixes, texts, pairs)
        return mean_nll(torch.from_numpy(nll), torch.from_numpy(mask)).double().numpy()

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
        nll = score_pairs(
            self.model.llm, prefixes, ids, mask, wanted, rows_at_once=self.rows_at_once
        )
        return nll.cpu().numpy(), mask.cpu()[wanted[:, 1]].numpy()

    def features(self, prefixes: Tensor) -> npt.NDArray[np.float64]:
        """Compute the mean embedding of every prefix, (N, d_llm)."""
        return prefixes.float().mean(dim=1).cpu().double().numpy()

    def untuned(self) -> AbstractContextManager[None] | None:
        """Context manager that disables the PEFT adapters of the LLM; None if it has none."""
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


@checked
def control_model(
    model: LLM4Brain,
    store: VoxelStore,
    trial_ids: Sequence[str],
    *,
    apart: Sequence[str] = ("run_id",),
    sampling: Sampling | None = None,
    count: int = 100,
    seed: int = 0,
    batch_size: int = 32,
    partners: npt.NDArray[np.int64] | None = None,
) -> Conditions:
    """Run LLM4Brain on the true brain data and on every control.

    Parameters
    ----------
    model : LLM4Brain
    store : VoxelStore
    trial_ids : sequence of str
        Trials of the test part.
    apart : sequence of str
        Attributes of :class:`fastbrain.data.Trial` that partners must not share; the first is the
        unit of confidence intervals. Add ``"stimulus"`` if stimuli repeat across runs.
    sampling : Sampling, optional
    count : int
        Number of derangements.
    seed : int
        Seed of derangements, noise and intervals.
    batch_size : int
    partners : ndarray, (R, N) int64, optional
        Derangements to use in place of `count` new ones.

    Returns
    -------
    Conditions

    Raises
    ------
    InputError
        A trial is not in the test part, or no derangement exists.
    """
    _check_test_part("control_model", store, trial_ids)
    trials = [store.by_id[t] for t in trial_ids]
    kinds = [[getattr(t, name) for t in trials] for name in apart]

    def windows(view: VoxelStore, ids: Sequence[str]) -> WindowLoader:
        return WindowLoader(view, ids, batch_size=batch_size, shuffle=False)

    brains = {TRUE: windows(store, trial_ids)}
    for kind in get_args(Noise):
        # without a subject table the zero brain gives the same result for every trial
        same = kind == "zero brain" and model.subjects is None
        ids = trial_ids[:1] if same else trial_ids
        brains[kind] = windows(noise_store(store, kind, seed=seed), ids)
    if partners is None:
        partners = derangements(*kinds, count=count, seed=seed)
    return run_controls(
        LLM4BrainDecoder(model, sampling=sampling),
        brains,
        [t.text for t in trials],
        partners,
        blocks=kinds[0],
        train_texts=[store.by_id[t].text for t in store.split.train],
        train_brains=windows(store, store.split.train),
    )


@checked
def pairwise_scorer(
    model: LLM4Brain,
    store: VoxelStore,
    trial_ids: Sequence[str],
    *,
    apart: Sequence[str] = ("run_id",),
    count: int = 100,
    seed: int = 0,
    batch_size: int = 32,
) -> Callable[[VoxelStore], Score]:
    """Build a function that scores a view of the store, for regions and delays.

    Parameters
    ----------
    model, store, trial_ids, apart, count, seed, batch_size
        As in :func:`control_model`.

    Returns
    -------
    callable
        Maps a view of the store, or the store itself, to its pairwise accuracy against deranged
        brains. Trials and derangements are the same in every call.
    """
    _check_test_part("pairwise_scorer", store, trial_ids)
    trials = [store.by_id[t] for t in trial_ids]
    kinds = [[getattr(t, name) for t in trials] for name in apart]
    truth = [t.text for t in trials]
    partners = derangements(*kinds, count=count, seed=seed)
    pairs = needed_pairs(partners, truth)
    decoder = LLM4BrainDecoder(model)

    def score(view: VoxelStore) -> Score:
        loader = WindowLoader(view, trial_ids, batch_size=batch_size, shuffle=False)
        nll = decoder.score(decoder.read(loader), truth, pairs.index)
        return pairwise_score(*pairs.gather(nll), blocks=kinds[0], seed=seed)

    return score


def _check_test_part(name: str, store: VoxelStore, trial_ids: Sequence[str]) -> None:
    seen = set(store.split.train) | set(store.split.val)
    leaked = [t for t in trial_ids if t in seen]
    unknown = [t for t in trial_ids if t not in store.by_id]
    if leaked or unknown or not trial_ids:
        raise InputError(
            f"{name}: trial_ids must be of the test part, got {len(trial_ids)} of which "
            f"{len(leaked)} of train or val {leaked[:1]} and {len(unknown)} unknown {unknown[:1]}."
        )
