"""A tiny cohort and model, without files: fixtures that two folders import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastbrain import TokenGrid
from fastbrain.llm4brain import (
    AdapterConfig,
    EncoderConfig,
    LLM4Brain,
    LLM4BrainConfig,
    QFormerConfig,
    VideoConfig,
)
from fastbrain.lm import load_llm, small_llm

WORDS = ("ball", "box", "wall", "tree")
PROMPT = "What is it?"


@dataclass(frozen=True)
class FakeBatch:
    voxels: Tensor
    trial_ids: tuple[str, ...]
    texts: tuple[str, ...]
    indices: Tensor
    subjects: tuple[str, ...] = ()


class FakeLoader:
    """The interface of a window loader over a tensor in memory."""

    def __init__(self, voxels, texts, ids, *, batch_size=4, shuffle=True, seed=0) -> None:
        self.voxels, self.texts, self.trial_ids = voxels, tuple(texts), tuple(ids)
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return -(-len(self.trial_ids) // self.batch_size)

    def __iter__(self) -> Iterator[FakeBatch]:
        n = len(self.trial_ids)
        order = np.arange(n)
        if self.shuffle:
            order = np.random.default_rng(self.seed + self.epoch).permutation(n)
        while self.position < len(self):
            rows = order[self.position * self.batch_size :][: self.batch_size].tolist()
            self.position += 1
            yield FakeBatch(
                self.voxels[rows],
                tuple(self.trial_ids[i] for i in rows),
                tuple(self.texts[i] for i in rows),
                torch.tensor(rows),
            )
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


@pytest.fixture(scope="session")
def grid() -> TokenGrid:
    return TokenGrid.from_mask(np.ones((4, 6, 4), dtype=bool), (2, 2, 2))


@pytest.fixture(scope="session")
def language(shared_by_workers) -> tuple[Any, Any]:
    """A small LLM that knows eight sentences."""
    corpus = [f"{PROMPT} It is {a} {w}." for w in WORDS for a in ("a", "the")]
    sizes = {"dim": 32, "depth": 2, "heads": 2, "steps": 400, "batch_size": 16, "slots": 3}
    folder = shared_by_workers(
        "tiny-language", lambda folder: small_llm(corpus, cache_dir=folder, **sizes)
    )
    return load_llm(str(folder))


@pytest.fixture
def make_model(grid, language) -> Callable[..., LLM4Brain]:
    """Factory of equal small models."""

    def make(
        *, dropout: float = 0.0, n_classes: int = len(WORDS), readout_rank: int = 64
    ) -> LLM4Brain:
        torch.manual_seed(11)
        config = LLM4BrainConfig(
            frames=2,
            encoder=EncoderConfig(
                dim=12, depth=1, heads=2, dropout=dropout, decoder_dim=12, decoder_heads=2
            ),
            qformer=QFormerConfig(dim=12, depth=1, heads=2, n_queries=3),
            video=VideoConfig(frames=2, size=8, patch=4, dim=12, depth=1, heads=2),
            adapter=AdapterConfig(rank=2),
            n_classes=n_classes,
            readout_rank=readout_rank,
        )
        centers = grid.centers(np.diag([3.0, 3.0, 3.0, 1.0]))
        llm, tokenizer = language
        return LLM4Brain(
            config, grid=grid, centers_mm=centers, llm=llm, text_tokenizer=tokenizer, scale=0.01
        )

    return make


@pytest.fixture
def make_loader(grid) -> Callable[..., FakeLoader]:
    """Factory: windows whose pattern is their word's, plus noise."""

    def make(n: int = 10, *, name: str = "t", noise: float = 30.0, **options) -> FakeLoader:
        patterns = np.random.default_rng(0).normal(size=(len(WORDS), 2, grid.n_tokens, 8)) * 100
        rng = np.random.default_rng(len(name) + n)
        labels = np.arange(n) % len(WORDS)
        voxels = patterns[labels] + rng.normal(size=(n, 2, grid.n_tokens, 8)) * noise
        texts = [f"It is a {WORDS[c]}." for c in labels]
        ids = [f"{name}-{i}" for i in range(n)]
        return FakeLoader(torch.from_numpy(voxels.astype(np.int16)), texts, ids, **options)

    return make


@pytest.fixture(scope="session")
def frames() -> Callable[[str], Tensor]:
    """Trial id to a clip whose colour is its word's."""

    def clip(trial_id: str) -> Tensor:
        c = int(trial_id.rpartition("-")[2]) % len(WORDS)
        image = torch.full((2, 3, 8, 8), 0.1)
        image[:, c % 3] = 0.9 if c < 3 else 0.4
        return image

    return clip
