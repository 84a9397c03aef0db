"""Files for the command lines that the documentation prints: a tiny cohort, runs, studies."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import torch
from rest_bids import write_rest_bids
from smol_twin import smol_folder
from surface_cohort import write_cohort, write_surfaces
from tiny_vlm import save_tiny_vlm

from fastbrain import cli
from fastbrain.data import (
    CohortDesign,
    RestDesign,
    VoxelStore,
    resting_study,
    simulate_cohort,
    simulate_rest,
    write_resting,
)
from fastbrain.data.readers.tables import read_tsv, tsv_text
from fastbrain.llm4brain import EncoderConfig, LLM4BrainConfig, QFormerConfig, VideoConfig
from fastbrain.llm4brain.training import RunConfig, preset
from fastbrain.lm import small_llm
from fastbrain.training import OptimConfig

SPLIT = "--test-subjects 06"
FAST = {"epochs": 1, "batch_size": 8, "optim": OptimConfig(lr=1e-3)}


class World:
    """Makes each file of the tiny world when a line first asks for it."""

    def __init__(self, root: Path) -> None:
        self.root, self._made, self._numbers = root, {}, count()

    def place(self, name: str, role: str) -> str:
        if role == "new":
            return str(self.root / f"new-{next(self._numbers)}")
        if role == "config":
            role = f"config of {name}"
        if role not in self._made:
            make = getattr(self, "_" + re.sub(r"\W", "_", role))
            self._made[role] = str(make())
        return self._made[role]

    def _run_command(self, *words: str) -> None:
        assert cli.main(list(words)) == 0

    def _cohort(self) -> Path:
        design = CohortDesign(subjects=6, runs=3, trials=5, resolution_mm=8, snr=2.0)
        table = simulate_cohort(self.root / "cohort", design)
        for events in table.parent.rglob("*_events.tsv"):
            columns, rows = read_tsv(events)
            told = [[*row.values(), f"story of {row['stimulus']}"] for row in rows]
            events.write_text(tsv_text([*columns, "story"], told))
        return table

    def _three_people(self) -> Path:
        cohort = Path(self.place("", "cohort"))
        head, *rows = cohort.read_text().splitlines(keepends=True)
        out = cohort.with_name("three.tsv")
        out.write_text(head + "".join(row for row in rows if row[:2] in ("01", "02", "03")))
        return out

    def _bench_rows(self) -> Path:
        out = self.root / "bench" / "rows.jsonl"
        case = "bench run --op vq_lookup --case 1x1024x64 --rounds 3 --out"
        self._run_command(*case.split(), str(out))
        return out

    def _grayordinates(self) -> Path:
        return write_cohort(self.root / "grayordinates", subjects=6, runs=2, volumes=32)

    def _surface(self) -> Path:
        return write_surfaces(self.root)[0]

    def _other_surface(self) -> Path:
        return write_surfaces(self.root)[1]

    def _bids(self) -> Path:
        return Path(self.place("", "cohort")).parent

    def _recording(self, run: str, what: str) -> Path:
        (path,) = self._bids().glob(f"sub-06/func/*run-{run}_{what}")
        return path

    def _scan(self) -> Path:
        return self._recording("01", "bold.nii.gz")

    def _other_scan(self) -> Path:
        return self._recording("02", "bold.nii.gz")

    def _events(self) -> Path:
        return self._recording("01", "events.tsv")

    def _store(self) -> Path:
        cohort, out = self.place("", "cohort"), self.root / "store"
        self._run_command("prepare", cohort, str(out), "--window", "2", *SPLIT.split())
        return out

    def _store_at_rest(self) -> Path:
        design = CohortDesign(subjects=5, runs=2, trials=5, resolution_mm=8, seed=1)
        cohort, out = simulate_cohort(self.root / "at-rest", design), self.root / "rest-store"
        parts = "--split-by subject --train 01 02 --val 03 --no-events --grid-of".split()
        self._run_command("prepare", str(cohort), str(out), *parts, self.place("", "store"))
        return out

    def _table_of_betas(self) -> Path:
        folder = self.root / "betas"
        folder.mkdir()
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), folder / "mask.nii")
        rows = ["subject\tsession\trun\tbold\tevents\tmask"]
        for session in ("01", "02", "03", "04"):
            values = np.random.default_rng(int(session)).integers(-900, 900, (4, 4, 4, 6))
            nib.save(nib.Nifti1Image(values.astype(np.int16), np.eye(4)), folder / f"{session}.nii")
            texts = "".join(f"picture {session} {i}\n" for i in range(6))
            (folder / f"{session}.tsv").write_text(f"text\n{texts}")
            rows.append(f"01\t{session}\t01\t{session}.nii\t{session}.tsv\tmask.nii")
        (folder / "runs.tsv").write_text("\n".join(rows) + "\n")
        return folder / "runs.tsv"

    def _encoder(self) -> Path:
        out, config = self.root / "encoder", self.place("train scmbm", "config")
        store = self.place("", "store")
        self._run_command("train", "scmbm", store, str(out), "--config", config)
        return out / "encoder.safetensors"

    def _split(self) -> Path:
        split = VoxelStore.open(self.place("", "store")).split
        return self._json("split", replace(split, val=split.val[:-1]).to_json())

    def _language_model(self) -> Path:
        words = "a woman throws the guitar in park near what happens how old is this person ?"
        return small_llm(
            [f"{words} 0 1 2 3 4 5 6 7 8 9"], cache_dir=self.root / "llm", dim=32, steps=2
        )

    def _language_model_of_lines(self) -> Path:
        return smol_folder(self.root / "lines")

    def _recipe(self) -> RunConfig:
        return RunConfig(
            llm=self.place("", "language model"),
            prompts=("what happens ?",),
            model=LLM4BrainConfig(
                encoder=EncoderConfig(dim=24, depth=1),
                qformer=QFormerConfig(dim=24, depth=1, n_queries=8),
                video=VideoConfig(frames=2, size=16, dim=24, depth=1),
            ),
            pretrain=None,
            video=replace(preset("video"), **FAST),
            stage1=None,
            stage2=replace(preset("stage2"), **FAST),
        )

    def _config_of_train(self) -> Path:
        return self._json("llm4brain", self._recipe().to_dict())

    def _config_of_study_rest_task(self) -> Path:
        return self._config_of_leave_out()

    def _config_of_leave_out(self) -> Path:
        return self._json("text", replace(self._recipe(), stimulus="text", video=None).to_dict())

    def _config_of_train_brainllm(self) -> Path:
        stage = {"epochs": 1, "batch_size": 16, "optim": {"lr": 1e-3}}
        training = {n: {"name": n, **stage} for n in ("warmup", "tune")}
        sizes = {"max_prompt_tokens": 16, "max_text_tokens": 32}
        return self._json("brainllm", {"features": 8, "training": {**training, **sizes}})

    def _config_of_train_scmbm(self) -> Path:
        stage = {"name": "pretrain", "epochs": 1, "batch_size": 8}
        return self._json("scmbm", {"encoder": {"dim": 24, "depth": 1}, "stage": stage})

    def _config_of_train_vq_lm(self) -> Path:
        tune = {"name": "tune", "epochs": 1, "batch_size": 8}
        small = {"coder_epochs": 1, "steps": 2, "image_steps": 2, "tune": tune}
        small |= {"encoder_steps": 1, "vlm_steps": 1}
        return self._json("vqlm", small)

    def _run(self) -> Path:
        out = self.root / "run"
        config = self.place("train", "config")
        self._run_command("train", self.place("", "store"), str(out), "--config", config)
        return out

    def _run_of_brainllm(self) -> Path:
        out, config = self.root / "brainllm", self.place("train brainllm", "config")
        train = ("train", "brainllm", self.place("", "store"), str(out), "--config", config)
        self._run_command(
            *train, "--llm", self.place("", "language model"), "--allow-leak", "small"
        )
        return out

    def _atlas_of_the_store(self) -> Path:
        store = VoxelStore.open(self.place("", "store"))
        labels = np.zeros(store.grid.shape, dtype=np.int16)
        labels[:, : store.grid.shape[1] // 2] = 1
        path = self.root / "atlas.nii.gz"
        nib.save(nib.Nifti1Image(labels.T, store.affine), path)
        return path

    def _story(self) -> str:
        return "sub-06_run-01"

    def _run_with_people(self) -> Path:
        out, config = self.root / "people", self.place("leave-out", "config")
        train = ("train", self.place("", "store"), str(out), "--config", config)
        self._run_command(*train, "--subjects", "affine")
        return out

    def _scored_run(self) -> Path:
        out = self.root / "scored"
        shutil.copytree(self.place("", "run"), out)
        self._run_command("evaluate", str(out), "--no-bert")
        return out

    def _other_scored_run(self) -> Path:
        return Path(shutil.copytree(self.place("", "scored run"), self.root / "other"))

    def _run_with_different_texts(self) -> Path:
        # a model of two steps decodes the same text from every brain
        run = Path(shutil.copytree(self.place("", "scored run"), self.root / "different"))
        table = pq.read_table(run / "samples.parquet")
        texts = [f"{text} {i}" for i, text in enumerate(table["decoded"].to_pylist())]
        place = table.column_names.index("decoded")
        pq.write_table(table.set_column(place, "decoded", [texts]), run / "samples.parquet")
        return run

    def _forms(self) -> Path:
        out = self.root / "forms"
        run = self.place("", "run with different texts")
        self._run_command("evaluate", run, "--human-study", str(out))
        return out

    def _answers(self) -> Path:
        page = (Path(self.place("", "forms")) / "form-01.html").read_text("utf-8")
        found = dict(re.findall(r'data-(form|digest|format)="([^"]*)"', page))
        return self._json("answers", {**found, "answers": {"1": "1", "2": "2"}})

    def _pickle(self) -> Path:
        torch.save({"weight": torch.ones(2, 3)}, self.root / "pytorch_model.bin")
        return self.root / "pytorch_model.bin"

    def _study(self) -> Path:
        people = simulate_rest(RestDesign(people=20, regions=4, frames=80))
        return write_resting(resting_study(people), self.root / "rest")

    def _rest_bids(self) -> Path:
        write_rest_bids(self.root / "rest-bids")
        return self.root / "rest-bids"

    def _atlas(self) -> Path:
        return Path(self.place("", "rest bids")) / "atlas.nii.gz"

    def _vision_model(self) -> Path:
        return save_tiny_vlm(self.root / "vlm")

    def _run_of_codes(self) -> Path:
        out, config = self.root / "codes", self.place("train vq-lm", "config")
        model = self.place("", "language model")
        options = ("--config", config, "--llm", model)
        self._run_command("train", "vq-lm", self.place("", "study"), str(out), *options)
        return out

    def _store_of_others(self) -> Path:
        """Another data set, in the form of the run's windows, with texts of its own."""
        design = CohortDesign(subjects=2, runs=2, trials=5, resolution_mm=8, snr=2.0, seed=3)
        table = simulate_cohort(self.root / "others", design)
        for k, events in enumerate(sorted(table.parent.rglob("*_events.tsv"))):
            columns, rows = read_tsv(events)
            for i, row in enumerate(rows):
                row["stimulus"], row["text"] = f"other-{k}-{i}", f"{row['text']} in year {k} {i}"
            events.write_text(tsv_text(columns, [[row[c] for c in columns] for row in rows]))
        out = self.root / "other-store"
        self._run_command("prepare", str(table), str(out), "--like", self.place("", "run"))
        return out

    def _config_of_leave_out_brainllm(self) -> Path:
        return self._config_of_train_brainllm()

    def _config_of_leave_out_vq_lm(self) -> Path:
        return self._config_of_train_vq_lm()

    def _json(self, name: str, value: object) -> Path:
        path = self.root / f"{name}.json"
        path.write_text(json.dumps(value))
        return path
