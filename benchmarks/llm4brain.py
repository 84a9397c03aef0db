"""What each part of LLM4Brain is worth: one part changed at a time, on simulated cohorts.

    python benchmarks/llm4brain.py [--machine NAME] [--seeds 0 1 2] [--only VARIANT ...]
    python benchmarks/llm4brain.py --presets fastbrain paper-small [--seeds 0]

A seed draws its own cohort, weights and order. Two people are held out, with stimuli nobody else
saw; two runs of theirs take part in the domain adaptation without texts and are not scored in any
variant. All variants of a seed start from one pretrained encoder and one video branch, as the
paper's do, and train for as long. A row is kept as soon as it is known, and rows that are there
are not made again.

``--presets`` trains and scores through the command line instead, ``fastbrain train llm4brain
--preset`` and ``fastbrain evaluate``, and keeps the paper's table: every held-out person beside
every control.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from recording import Recorder
from rows import all_rows
from variants import SIZES, SNR, STAGE1, STAGE2, VARIANTS, Variant

from fastbrain.data import (
    CohortDesign,
    VoxelStore,
    WindowLoader,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_unseen,
)
from fastbrain.data.readers.clips import read_clip
from fastbrain.data.simulate.captions import QUESTION, all_meanings
from fastbrain.evaluation import Score
from fastbrain.evaluation.analyses.by_subject import subject_cells
from fastbrain.llm4brain import LLM4Brain, LLM4BrainConfig, ModelCard, evaluate_model
from fastbrain.llm4brain.training import (
    RunConfig,
    VideoLatents,
    build_model,
    fit_readout,
    preset,
    pretrain_scmbm,
    pretrain_video,
    split_target,
    stage_one,
    stage_two,
    video_targets,
)
from fastbrain.llm4brain.training.presets import PRESETS
from fastbrain.lm import small_llm
from fastbrain.training import OptimConfig, StageConfig

UNSEEN = ("07", "08")
ADAPT_RUNS = 2


def main() -> None:
    """Make the rows that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    some.add_argument("--presets", nargs="+", choices=PRESETS, default=[], help="the table")
    parser.add_argument("--work", type=Path, help="folder for cohorts; default: a temporary one")
    args = parser.parse_args()
    op = "people" if args.presets else "llm4brain"
    known = all_rows(args.machine) if args.machine else []
    there = {(row["case"], row["seed"]) for row in known if row["op"] == op}
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        for seed in args.seeds:
            for name in args.presets:
                if (name, seed) not in there:
                    run_preset(work / f"seed-{seed}-snr-{SNR:g}", seed, name, args.machine)
            if args.presets:
                continue
            for snr in dict.fromkeys(VARIANTS[name].snr for name in args.only):
                names = [n for n in args.only if VARIANTS[n].snr == snr]
                todo = [n for n in names if (n, seed) not in there]
                if todo:
                    run_seed(work / f"seed-{seed}-snr-{snr:g}", seed, snr, todo, args.machine)


def run_seed(work: Path, seed: int, snr: float, names: list[str], machine: str | None) -> None:
    """Pretrain once, then train and score every variant."""
    base = Base.prepared(work, seed, snr)
    base.pretrain()
    for name in names:
        start = perf_counter()
        row = base.score(VARIANTS[name])
        Recorder(machine).row(
            op="llm4brain",
            case=name,
            title=VARIANTS[name].title,
            seed=seed,
            snr=snr,
            seconds=round(perf_counter() - start, 1),
            **row,
        )


def run_preset(work: Path, seed: int, name: str, machine: str | None) -> None:
    """Train and score a preset by the command line."""
    start = perf_counter()
    base = Base.prepared(work, seed, SNR)
    run_dir = Path(tempfile.mkdtemp(dir=work)) / "run"
    train = ["train", "llm4brain", str(base.store.path), str(run_dir), "--preset", name]
    train += ["--llm", base.llm, "--adapt-runs", str(ADAPT_RUNS)]
    for command in (train, ["evaluate", str(run_dir)]):
        subprocess.run([sys.executable, "-m", "fastbrain.cli", *command], check=True)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    scores = [Score.from_json(score) for score in metrics["scores"]]
    Recorder(machine).row(
        op="people",
        case=name,
        seed=seed,
        snr=SNR,
        seconds=round(perf_counter() - start, 1),
        cells=subject_cells(scores),
        **{key: metrics[key] for key in ("n", "adaptation")},
    )


@dataclass
class Base:
    """What all variants of a seed share."""

    store: VoxelStore
    llm: str
    seed: int
    work: Path
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    targets: VideoLatents | None = None

    @classmethod
    def prepared(cls, work: Path, seed: int, snr: float) -> Base:
        """Simulate and prepare, unless that is done."""
        cohort, folder = work / "cohort", work / "store"
        if not cohort.exists():
            simulate_cohort(cohort, CohortDesign(8, 4, 24, snr=snr, seed=seed))
        if not (folder / "manifest.json").is_file():
            prepare_store(
                read_runs_table(cohort / "runs.tsv"),
                folder,
                window=WindowSpec(delay_s=4.0, window_trs=4),
                kernel=(6, 6, 6),
                split=lambda t: split_unseen(t, test_subjects=UNSEEN, val_fraction=0.25, seed=seed),
                resume=folder.exists(),
            )
        corpus = [f"{QUESTION} {meaning.caption}" for meaning in all_meanings()]
        return cls(VoxelStore.open(folder), str(small_llm(corpus, seed=0)), seed, work)

    def pretrain(self) -> None:
        """Pretrain the encoder and the video branch."""
        model = self.model(SIZES)
        pretrain = replace(preset("pretrain"), epochs=2, seed=self.seed)
        pretrain_scmbm(model, self.loader("train", pretrain), pretrain, run_dir=self.run_dir())
        frames = self.frames()
        video = replace(
            preset("video"),
            epochs=24,
            batch_size=32,
            seed=self.seed,
            validate_every=6,
            optim=OptimConfig(lr=2e-3, weight_decay=0.01, warmup_steps=20),
        )
        pretrain_video(
            model, self.texts("train"), frames, video, run_dir=self.run_dir(), prompts=(QUESTION,),
            val_texts=self.texts("val"),
        )  # fmt: skip
        split = self.store.split
        self.targets = video_targets(model, [*split.train, *split.val], frames)
        self.state = {k: v.clone() for k, v in model.state_dict().items()}

    def run_dir(self) -> Path:
        """A new folder for a stage."""
        return Path(tempfile.mkdtemp(dir=self.work))

    def model(self, sizes: LLM4BrainConfig) -> LLM4Brain:
        """A new model, with what was pretrained."""
        model = build_model(self.store, RunConfig(model=sizes, seed=self.seed), self.llm)
        pretrained = ("tokenizer.", "encoder.", "qformer.", "projection.", "video.")
        state = {
            k: v for k, v in self.state.items() if k.startswith(pretrained) and "adapter" not in k
        }
        unknown = model.load_state_dict(state, strict=False).unexpected_keys
        assert not unknown, unknown
        return model

    def loader(self, part: Any, stage: StageConfig, *, shuffle: bool = True) -> WindowLoader:
        """Windows of a part, or of named trials."""
        trials = self.store.split.part(part) if isinstance(part, str) else part
        return WindowLoader(
            self.store, trials, batch_size=stage.batch_size, shuffle=shuffle, seed=self.seed
        )

    def texts(self, part: Any) -> dict[str, str]:
        """Text by trial."""
        return {t: self.store.by_id[t].text for t in self.store.split.part(part)}

    def frames(self) -> Callable[[str], torch.Tensor]:
        """Trial to the frames of its clip."""
        size, known = SIZES.video, {}

        def frames(trial: str) -> torch.Tensor:
            if trial not in known:
                clip = read_clip(self.store.clip(trial), frames=size.frames, size=size.size)
                known[trial] = torch.from_numpy(clip)
            return known[trial]

        return frames

    def score(self, variant: Variant) -> dict[str, Any]:
        """Train a variant and score it on the held-out people."""
        store, targets = self.store, self.targets
        assert targets is not None
        adapt, scored = split_target(store, ADAPT_RUNS)
        model = self.model(variant.sizes)
        val = self.loader("val", STAGE2, shuffle=False)
        found: dict[str, Any] = {}
        if model.readout is not None:
            fit = fit_readout(model, self.loader("train", STAGE1, shuffle=False), targets)
            found["readout_r2"] = fit.r2
        if variant.stage1 is not None:
            stage = replace(variant.stage1, seed=self.seed)
            train = self.loader("train", stage)
            stage_one(model, train, targets, stage, run_dir=self.run_dir(), val_loader=val)
        stage = replace(variant.stage2, seed=self.seed)
        classes = sorted({store.by_id[t].category for t in store.split.train})
        history = stage_two(
            model,
            self.loader("train", stage),
            stage,
            run_dir=self.run_dir(),
            prompts=(QUESTION,),
            labels={t: classes.index(store.by_id[t].category) for t in store.split.train},
            target_loader=self.loader(adapt, stage),
            val_loader=val,
        )
        model.card = ModelCard(llm=self.llm, tr=store.tr, prompt=QUESTION)
        result = evaluate_model(model, store, scored, bert=False)
        for name in ("pairwise", "bleu1", "bleu2", "rougeL_f", "exact_match"):
            score = result.score(name)
            found |= {name: score.value, f"{name}_deranged": score.chance, f"{name}_p": score.p}
        for control in ("zero brain", "majority text", "nearest training text"):
            score = result.score("rougeL_f", control=control)
            found[f"rougeL_f_{control.replace(' ', '_')}"] = score.chance
        return found | {"val_answer_loss": history.best_value, "n": len(scored)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
