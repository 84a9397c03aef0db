"""Every stage of every system on tiny models, for one process or several.

``python process_cases.py`` imports once, then forks two processes for every job that it reads.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grids_in_memory
import numpy as np
import torch

from fastbrain import TokenGrid
from fastbrain.brainllm import BrainLLM, BrainLLMConfig
from fastbrain.brainllm.training import BrainTextLoader, BrainTexts, PromptTuning, WarmUp
from fastbrain.brainllm.training.presets import BrainLLMTraining
from fastbrain.brainllm.training.stages import validation_of
from fastbrain.data import SeriesScaler
from fastbrain.llm4brain import (
    AdapterConfig,
    EncoderConfig,
    LLM4Brain,
    LLM4BrainConfig,
    QFormerConfig,
    VideoConfig,
)
from fastbrain.llm4brain.training import (
    VideoLatents,
    calibrate,
    preset,
    pretrain_scmbm,
    pretrain_video,
    stage_one,
    stage_two,
)
from fastbrain.lm import DigitTokens, extend_vocabulary
from fastbrain.lm.lora import with_lora
from fastbrain.lm.number_lines import extend_number_lines
from fastbrain.lm.word_lm import word_tokenizer
from fastbrain.training import History, OptimConfig, ResumableLoader, StageConfig, fit
from fastbrain.training.validation import mean_validation
from fastbrain.vqlm import QuantiserConfig, Question, VQAutoencoder, VQAutoencoderConfig
from fastbrain.vqlm.training import TextSide, VQLosses, VQStageConfig, train_vq
from fastbrain.vqlm.training.answer_config import NumberConfig, WordsConfig
from fastbrain.vqlm.training.code_rows import CodeRows, RowLoader

WORDS = ("ball", "box", "wall", "tree")
PROMPTS = ("what is it ?", "say what this is")
GRID = TokenGrid.from_mask(np.ones((4, 6, 4), dtype=bool), (2, 2, 2))
OPTIM = OptimConfig(lr=1e-3, warmup_steps=1)


class Windows(ResumableLoader[Any]):
    """Windows in memory, like those of a store."""

    def __init__(self, n: int, name: str = "t", **options: Any) -> None:
        super().__init__(**options)
        self.trial_ids = tuple(f"{name}-{i}" for i in range(n))
        generator = torch.Generator().manual_seed(n)
        shape = (n, 2, GRID.n_tokens, 8)
        self.voxels = torch.randint(-300, 300, shape, dtype=torch.int16, generator=generator)

    def _samples(self) -> int:
        return len(self.trial_ids)

    def _batch(self, rows: list[int]) -> Any:
        from fastbrain.data.store.loader import Batch

        ids = tuple(self.trial_ids[i] for i in rows)
        texts = tuple(f"it is a {WORDS[i % 4]}" + " now" * (i % 3) for i in rows)
        subjects = tuple(("one", "two", "three")[i % 3] for i in rows)
        return Batch(self.voxels[rows], ids, texts, subjects, torch.tensor(rows))


def language() -> tuple[Any, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    sentences = [*PROMPTS, "it is a now", *WORDS, "how old is this person ?", "0 1 2 3 4 5 6 7 8 9"]
    tokenizer = word_tokenizer(sentences)
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


def sizes(**options: Any) -> LLM4BrainConfig:
    return LLM4BrainConfig(
        frames=2,
        encoder=EncoderConfig(
            dim=12, depth=1, heads=2, dropout=0.1, decoder_dim=12, decoder_heads=2
        ),
        qformer=QFormerConfig(dim=12, depth=1, heads=2, n_queries=3, dropout=0.1),
        video=VideoConfig(frames=2, size=8, patch=4, dim=12, depth=1, heads=2),
        adapter=AdapterConfig(rank=2),
        n_classes=4,
        readout_rank=8,
        **options,
    )


def llm4brain(**options: Any) -> LLM4Brain:
    llm, tokenizer = language()
    torch.manual_seed(11)
    config = sizes(**options)
    centers = GRID.centers(np.diag([3.0, 3.0, 3.0, 1.0]))
    return LLM4Brain(
        config, grid=GRID, centers_mm=centers, llm=llm, text_tokenizer=tokenizer, scale=0.01
    )


def frames(trial: str) -> torch.Tensor:
    seed = int(trial.rpartition("-")[2])
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def stage(name: str, **options: Any) -> Any:
    given = {
        "epochs": 2,
        "batch_size": 4,
        "optim": OPTIM,
        "noise_std": 0.1,
        "keep_best": False,
        **options,
    }
    return replace(preset(name), **given)


def texts(n: int, name: str = "t") -> dict[str, str]:
    return {f"{name}-{i}": f"it is a {WORDS[i % 4]}" + " now" * (i % 3) for i in range(n)}


def scmbm(run: Path, **how: Any) -> Any:
    model = llm4brain()
    val = Windows(5, "v", batch_size=3, shuffle=False)
    # 9 windows: the last batch has one, which only one process can have
    history = pretrain_scmbm(
        model, Windows(9, batch_size=4), stage("pretrain"), run_dir=run,
        val_loader=val, **how,
    )  # fmt: skip
    return model, history


def video(run: Path, **how: Any) -> Any:
    model = llm4brain()
    history = pretrain_video(
        model, texts(9), frames, stage("video"), run_dir=run, prompts=PROMPTS,
        val_texts=texts(3, "v"), **how
    )  # fmt: skip
    return model, history


def calibration(run: Path, **how: Any) -> Any:
    model = llm4brain()
    generator = torch.Generator().manual_seed(2)
    rows = {f"t-{i}": i for i in range(7)}
    latents = VideoLatents(rows, torch.randn(7, 3, 12, generator=generator))
    history = calibrate(
        model, latents, texts(7), stage("calibrate"), run_dir=run, prompts=PROMPTS, **how
    )
    return model, history


def one(run: Path, **how: Any) -> Any:
    model = llm4brain()
    generator = torch.Generator().manual_seed(2)
    rows = {t: i for i, t in enumerate([*texts(9), *texts(5, "v")])}
    targets = VideoLatents(rows, torch.randn(14, 3, 12, generator=generator))
    history = stage_one(
        model, Windows(9, batch_size=4), targets, stage("stage1"), run_dir=run,
        val_loader=Windows(5, "v", batch_size=3, shuffle=False), **how
    )  # fmt: skip
    return model, history


def two(run: Path, *, variant: str = "dance", recompute: bool = False, **how: Any) -> Any:
    model = llm4brain(subjects="affine", people=("one", "two", "three"))
    config = stage("stage2", recompute=recompute, accumulate=2, checkpoint_every=1)
    groups = (*config.groups, "subjects")
    losses = replace(config.losses, nc_variant=variant, eta=1.0, lambda_ce=0.5)
    history = stage_two(
        model,
        Windows(9, batch_size=4),
        replace(config, losses=losses, groups=groups),
        run_dir=run,
        prompts=PROMPTS,
        labels={f"t-{i}": i % 4 for i in range(9)},
        target_loader=Windows(7, "u", batch_size=3),
        val_loader=Windows(5, "v", batch_size=3, shuffle=False),
        **how,
    )
    return model, history


def grids_one(run: Path, **how: Any) -> Any:
    torch.manual_seed(11)
    model = grids_in_memory.grid_models(sizes(), *language())
    generator = torch.Generator().manual_seed(2)
    rows = {t: i for i, t in enumerate([*texts(13), *texts(5, "v")])}
    targets = VideoLatents(rows, torch.randn(18, 3, 12, generator=generator))
    history = stage_one(
        # of the 9 windows of one grid and the 4 of the other, the last batches have 1 and 4
        model, grids_in_memory.loader(13), targets, stage("stage1"), run_dir=run,
        val_loader=grids_in_memory.loader(5, "v", batch_size=3, shuffle=False), **how
    )  # fmt: skip
    return model, history


def grids_two(run: Path, **how: Any) -> Any:
    torch.manual_seed(11)
    model = grids_in_memory.grid_models(sizes(), *language())
    history = stage_two(
        model, grids_in_memory.loader(9), stage("stage2"), run_dir=run, prompts=PROMPTS,
        labels={f"t-{i}": i % 4 for i in range(9)},
        target_loader=grids_in_memory.loader(7, "u", batch_size=3), **how
    )  # fmt: skip
    return model, history


def brainllm(run: Path, kind: Any, **how: Any) -> Any:
    llm, tokenizer = language()
    tokenizer.pad_token = tokenizer.eos_token

    def data(n: int, name: str) -> BrainTexts:
        generator = torch.Generator().manual_seed(n)
        windows = torch.randn(n, 2, 8, generator=generator)
        ids = texts(n, name)
        return BrainTexts(tuple(ids), windows, tuple(ids.values()), PROMPTS[:1] * n)

    torch.manual_seed(0)
    model = BrainLLM(BrainLLMConfig(features=8, frames=2), llm=llm, text_tokenizer=tokenizer)
    config = StageConfig("tune", epochs=2, batch_size=4, optim=OPTIM, keep_best=False)
    objective = kind(model, BrainLLMTraining(tune=config, max_prompt_tokens=8, max_text_tokens=8))
    model.marks.requires_grad_(kind is PromptTuning)
    val = validation_of(objective, data(5, "v"), 3)
    loader = BrainTextLoader(data(9, "t"), batch_size=4)
    return model, fit(objective, loader, config, run_dir=run, validate=val, **how)


def warmup(run: Path, **how: Any) -> Any:
    return brainllm(run, WarmUp, **how)


def tuning(run: Path, **how: Any) -> Any:
    return brainllm(run, PromptTuning, **how)


def vq(run: Path, **how: Any) -> Any:
    def series(count: int, seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        # 103 frames: the last window of a run is padded
        return {f"{seed}-{i}": 500 + 20 * rng.standard_normal((4, 103)) for i in range(count)}

    train = series(3, 0)
    quantiser = QuantiserConfig(codes=32, dim=8, decay=0.8, dead_below=0.5)
    sizes = VQAutoencoderConfig(
        4, patch=5, dim=24, depth=1, heads=2, decoder_depth=1, spectrum=True, dropout=0.1,
        quantiser=quantiser,
    )  # fmt: skip
    scaler = SeriesScaler.fit(train)
    torch.manual_seed(0)
    model = VQAutoencoder(sizes, center=scaler.center, spread=scaler.spread)
    generator = torch.Generator().manual_seed(7)
    embeddings = torch.randn(50, 20, generator=generator)
    ids = torch.randint(50, (400,), generator=generator)
    side = TextSide(
        embeddings, ids, {run: embeddings[i] for i, run in enumerate([*train, *series(2, 1)])}
    )
    weights = VQLosses(spectrum=1.0, domain=0.5, contrastive=0.5, text_tokens=16)
    config = VQStageConfig(
        epochs=2, batch_size=4, frames=20, optim=OPTIM, weights=weights, keep_best=False
    )
    history = train_vq(model, train, config, run_dir=run, val_runs=series(2, 1), text=side, **how)
    return model, history


def codes(run: Path, *, digits: bool = True, **how: Any) -> Any:
    llm, tokenizer = language()
    vocabulary = extend_vocabulary(llm, tokenizer, 7)
    lines = extend_number_lines(llm, tokenizer, 3, 61)
    found = DigitTokens.find(tokenizer, places=2) if digits else None
    question = Question(tokenizer, vocabulary, found, "how old is this person ?", lines)
    people = [f"p{i}" for i in range(5)]
    generator = torch.Generator().manual_seed(1)
    series = {p: torch.randint(7, (2, 9), generator=generator) for p in people}
    words = {p: torch.randn(3, generator=generator) for p in people}
    answers: Any = {p: 20.0 + i if digits else WORDS[i % 2] for i, p in enumerate(people)}

    def loader(shuffle: bool) -> RowLoader:
        return RowLoader(
            people, series, words, answers, question, steps=4, batch_size=3, draws=2,
            reading=WordsConfig(levels=61, copies=2), shuffle=shuffle,
        )  # fmt: skip

    torch.manual_seed(3)
    tuned = with_lora(llm, 2)
    objective = CodeRows(tuned, question, code_weight=0.5, numbers=NumberConfig(), variance=4.0)
    config = StageConfig("tune", epochs=2, batch_size=3, optim=OPTIM, keep_best=False)
    history = fit(
        objective, loader(True), config, run_dir=run, best="answer_loss",
        validate=mean_validation(objective, loader(False)), **how,
    )  # fmt: skip
    return objective, history


CASES = {
    "scmbm": scmbm,
    "video": video,
    "calibrate": calibration,
    "stage1": one,
    "stage2": two,
    "stage2-paper": lambda run, **how: two(run, variant="paper", recompute=True, **how),
    "grids-stage1": grids_one,
    "grids-stage2": grids_two,
    "warmup": warmup,
    "tune": tuning,
    "vq": vq,
    "codes": codes,
    "codes-words": lambda run, **how: codes(run, digits=False, **how),
}


def train(folder: Path, name: str, **how: Any) -> History:
    """Train one case in a folder; its checkpoint holds what it ended with."""
    _, history = CASES[name](folder / name, **how)
    return history


def stop(row: Any) -> None:
    """Raise after the first epoch."""
    raise ValueError("stopped by the test")


def kill(rank: int, batch: int) -> None:
    """Let process `rank` kill itself when it reads a batch."""
    read, seen = Windows._batch, []

    def broken(self: Windows, rows: list[int]) -> Any:
        seen.append(rows)
        if len(seen) == batch and int(os.environ["RANK"]) == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, rows)

    Windows._batch = broken  # type: ignore[method-assign]


def serve() -> None:
    """Fork the processes of every job read; say how they ended and after how many seconds."""
    torch.set_num_threads(1)
    # what the forked processes would each import
    for name in ("accelerate", "peft", "torch.distributed.fsdp", "transformers.models.llama"):
        importlib.import_module(name)
    language()
    for line in sys.stdin:
        job = json.loads(line)
        port = job.get("port") or _free_port()
        start = time.monotonic()
        children = []
        for rank in range(2):
            child = os.fork()
            if not child:
                _work(rank, port, job)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps({"codes": codes, "seconds": time.monotonic() - start}), flush=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _work(rank: int, port: int, job: Any) -> None:
    if rank == job.get("absent"):
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        **job.get("env", {}),
    )
    folder = Path(job["folder"])
    log = os.open(folder / f"log-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    code = 1
    try:
        if job.get("kill"):
            kill(*job["kill"])
        for name in job["cases"]:
            given = {"on_epoch": stop} if job.get("stop") else {}
            given |= {"resume": True} if job.get("resume") else {}
            history = train(folder, name, **given)
            rows = json.dumps(history.rows)
            (folder / f"{name}-{rank}.json").write_text(rows)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    if code == 0:
        torch.distributed.destroy_process_group()
    os._exit(code)


if __name__ == "__main__":
    serve()
