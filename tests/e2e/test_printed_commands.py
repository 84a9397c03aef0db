"""Every command line that is printed anywhere can be typed: it runs on a tiny cohort.

A new line needs no entry here as long as its positional arguments have the roles of its command
(`ROLES`) and its options are taken literally. Otherwise it fails, and says which table it needs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from itertools import count
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from printed_commands import ROOT, Printed, collect
from rest_bids import write_rest_bids
from smol_twin import smol_llm, smol_tokenizer
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

# command -> what its positional arguments are, in order; "more" repeats the one before it.
# With an option behind it: where a line has this option.
ROLES = {
    "adapt": ("run with people", "store", "new"),
    "audit": ("store",),
    "bench": (),
    "bench compare": ("bench rows", "bench rows"),
    "bench compare --base": (),
    "bench estimate": ("literal", "literal"),
    "bench plot": ("bench rows",),
    "bench report": ("bench rows",),
    "bids-app": ("bids", "new", "literal"),
    "compare": ("scored run", "other scored run", "more"),
    "convert": ("pickle", "new"),
    "decode": ("run",),
    "decode --study": ("run of codes",),
    "decode --story": ("run of brainllm",),
    "demo": (),
    "doctor": (),
    "evaluate": ("run",),
    "evaluate --human-study": ("run with different texts",),
    "fetch": ("literal", "new"),
    "human-study": ("forms", "answers"),
    "leave-out": ("three people", "new"),
    "leave-out brainllm": ("three people", "new"),
    "leave-out vq-lm": ("study", "new"),
    "prepare": ("cohort", "new"),
    "prepare --betas": ("table of betas", "new"),
    "prepare --surfaces": ("grayordinates", "new"),
    "push": ("run", "literal"),
    "quality": ("store",),
    "selftest": (),
    "store": ("store",),
    "store info": ("store",),
    "store verify": ("store",),
    "store export": ("store",),
    "study": ("literal", "bids", "new"),
    "study ablate": ("run", "new"),
    "study capacity": ("run of brainllm", "new"),
    "study noise": ("run", "new"),
    "study prompt-length": ("run of brainllm", "new"),
    "study regions": ("run of brainllm", "new"),
    "study samples": ("run of brainllm", "new"),
    "study rest": ("rest bids", "new"),
    "study rest-task": ("store at rest", "store", "new"),
    "study lebel": ("bids", "new"),
    "study narratives": ("bids", "new"),
    "study pereira": ("bids", "new"),
    "train": ("store", "new"),
    "train brainllm": ("store", "new"),
    "train scmbm": ("store", "new"),
    "train vq-lm": ("study", "new"),
    "train vq-lm --simulate": ("new", "new"),
}
# option -> role of its value; with a command before it, for that command alone
VALUES = {
    "--atlas": "atlas",
    "study regions --atlas": "atlas of the store",
    "--also": "store at rest",
    "--bold": "scan",
    "--encoder-weights": "encoder",
    "--config": "config",
    "--webdataset": "new",
    "--hf": "new",
    "--mds": "new",
    "--events": "events",
    "--grid-of": "store",
    "--human-study": "new",
    "--like": "run",
    "--llm": "language model",
    "--out": "new",
    "bench estimate --rows": "bench rows",
    "prepare --parcels": "atlas of the store",
    "--split": "split",
    "--store": "store",
    "--surfaces": "surface",
    "--vlm": "vision model",
    "--study": "study",
    "evaluate --store": "store of others",
    "evaluate --llm": "language model of lines",
    "--story": "story",
}
# option -> value in place of the printed one, which a tiny cohort does not have or takes minutes
SMALLER = {
    "train scmbm --windows": "8",
    "adapt --subject": "06",
    "adapt --runs": "1",
    "evaluate --derangements": "100",
    "leave-out --by": "run",  # the cohort has no sessions
    "leave-out --folds": "3",
    "leave-out --parallel": "1",  # test_leave_out.py runs folds in two processes
    "study ablate --parts": "tokenizer",
    "leave-out brainllm --features": "8",
    "leave-out vq-lm --folds": "3",
    "train brainllm --features": "8",
    "train vq-lm --simulate": "20",
    "study rest --tr": "4",
    "study rest --high-pass": "60",
}
# options added where the line does not have them, for a run of seconds
ADDED = {
    "bench": "--op vq_lookup --case 1x1024x64 --rounds 3",
    "adapt": "--epochs 1",
    "demo": "--dry-run",  # test_demo.py runs it
    "evaluate": "--no-bert --derangements 100",
    "leave-out": "--folds 3 --no-bert --config config",
    "leave-out brainllm": "--folds 3 --no-bert --config config --llm model --allow-leak small",
    "leave-out vq-lm": "--folds 3 --config config --llm model",
    "selftest": "--backend cpu",
    "study ablate": "--seeds 0 --no-bert --parts tokenizer",
    "study capacity": "--seeds 0 --no-bert --allow-leak small",
    "study noise": "--seeds 0 --no-bert",
    "study regions": "--atlas atlas --seeds 0 --no-bert --allow-leak small",
    "study samples": "--seeds 0 --no-bert --allow-leak small",
    "study rest-task": "--config config --epochs 1 --no-bert --seeds 0",
    "train": "--config config",
    "train brainllm": "--config config --llm model --features 8 --allow-leak small",
    "train scmbm": "--config config",
    "train vq-lm": "--config config --llm model",
}
# the cohort has no split of its own, as a study has
SPLIT = "--test-subjects 06"
SPLITS = ("--test-subjects", "--folds", "--train", "--split-by", "--like")
# lines that are parsed and not run, and why
PARSED = {
    "bench plot --run": "it needs two runs; test_bench_curves.py draws logs",
    "bench compare --base": "it builds another commit; test_bench_base.py runs the parts",
    "bids-app": "the tiny cohort has one run a person; test_bids_app_command.py runs it",
    "decode --decoder": "it needs an evaluation of minutes; test_sentence_runs.py runs it",
    "fetch": "it downloads; test_fetch.py runs it",
    "leave-out --derivatives": "the cohort has none; test_leave_out.py runs it",
    "prepare --dataset": "it reads a public data set; test_presets.py runs it",
    "prepare --derivatives": "the cohort has none; test_fmriprep_derivative.py runs it",
    "live": "it waits for a scanner; test_live_command.py runs it",
    "prepare --video-model": "it asks a model of several gigabytes",
    "prepare --confounds": "the cohort has none; test_denoised_store.py runs it",
    "prepare --dask": "it needs a cluster; test_parallel_prepare.py runs it",
    "prepare --space": "the tiny cohort has volumes alone; test_surface_stores.py has surfaces",
    "prepare --layout": "flat maps need surfaces; test_flat_maps.py has them",
    "push": "it uploads to the hub",
    "store append": "it needs another cohort; test_store_tools.py runs it",
    "store merge": "it needs another cohort; test_store_tools.py runs it",
    "study": "it reads a public data set",
    "study lebel": "it reads a public data set",
    "study narratives": "it reads a public data set",
    "study pereira": "it reads a public data set",
    "study prompt-length": "the tiny cohort has no prompts",
}
FAST = {"epochs": 1, "batch_size": 8, "optim": OptimConfig(lr=1e-3)}

LINES = collect()
WHOLE = [one for one in LINES if one.whole and one.line.startswith("fastbrain ")]


def command_of(one: Printed) -> tuple[str, list[str]]:
    """The command with its recipe, and the words after it."""
    name, *rest = one.words
    if rest and rest[0] in cli.RECIPES.get(name, {}):
        recipe = rest.pop(0)
        if recipe != next(iter(cli.RECIPES[name])):  # the first is the same without its name
            name = f"{name} {recipe}"
    return name, rest


def only_parsed(one: Printed) -> bool:
    """Whether a line is not run, because of its command or of one of its options."""
    name, words = command_of(one)
    return name in PARSED or any(f"{name} {word}" in PARSED for word in words)


def module_of(name: str):
    first, _, recipe = name.partition(" ")
    recipes = cli.RECIPES.get(first)
    file = (recipes[recipe] if recipe else next(iter(recipes.values()))) if recipes else first
    return import_module(f"fastbrain.commands.{file.replace('-', '_')}")


def arranged(one: Printed, place: Callable[[str, str], str]) -> list[str]:
    """The arguments of a line, with files of the tiny world; `place` gives the file of a role."""
    name, words = command_of(one)
    assert name in ROLES, f"'{one.line}' in {one.where}: say in ROLES what its arguments are"
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    given, options = words[:first], words[first:]
    roles = list(next((r for o in options if (r := ROLES.get(f"{name} {o}"))), ROLES[name]))
    if "..." in given:  # stands for the positional arguments that are left out
        given = [*(w for w in given if w != "..."), *[""] * len(roles)][: len(roles)]
    if roles[-1:] == ["more"]:
        roles[-1:] = [roles[-2]] * (len(given) - len(roles) + 1)
    assert len(given) == len(roles), f"'{one.line}' in {one.where} must name {', '.join(roles)}"
    found = [w if r == "literal" else place(name, r) for w, r in zip(given, roles, strict=True)]
    for added in re.findall(r"--[^-]\S*(?: (?!--)\S+)*", ADDED.get(name, "")):
        option, _, value = added.partition(" ")
        if option not in options:
            options += [option, *value.split()]
    if name == "prepare" and not set(SPLITS) & set(options):
        options += SPLIT.split()
    option, values = "", 0
    for word in options:
        values += 1
        if word.startswith("--"):
            option, values = word, 0
        elif role := VALUES.get(f"{name} {option}", VALUES.get(option)):
            word = place(name, role if values == 1 else f"other {role}")
        else:
            word = SMALLER.get(f"{name} {option}", word)
            assert not re.fullmatch(r"[A-Z]+", word) or option == "--echo", (
                f"'{one.line}' in {one.where}: say in VALUES or SMALLER what {word} stands for"
            )
        found.append(word)
    return [*name.split(), *found]


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
        tokenizer, out = smol_tokenizer(), self.root / "lines"
        smol_llm(tokenizer).save_pretrained(out)
        tokenizer.save_pretrained(out)
        return out

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


def distinct(lines: list[Printed]) -> list[Printed]:
    """Leave out lines that differ from an earlier one in the names of files alone."""
    found: dict[tuple[str, ...], Printed] = {}
    for one in lines:
        try:
            key = tuple(sorted(arranged(one, lambda name, role: role)))
        except AssertionError:  # told by the test of the line
            key = (one.line,)
        found.setdefault(key, one)
    return list(found.values())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    pytest.importorskip("nilearn")
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(root / "cache"))
        yield World(root)


@pytest.mark.slow(seconds=60)
@pytest.mark.parametrize(
    "one", distinct([o for o in WHOLE if not only_parsed(o)]), ids=lambda o: o.line
)
def test_a_printed_line_runs(one, world, capsys):
    arguments = arranged(one, world.place)
    capsys.readouterr()
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    assert code == 0, f"'{one.line}' in {one.where}, as {arguments}:\n{err}{out}"


@pytest.mark.parametrize("one", [o for o in WHOLE if only_parsed(o)], ids=lambda o: o.line)
def test_a_line_that_is_not_run_is_parsed(one):
    name, words = command_of(one)
    words = ["had" if word == "DATASET" else word for word in words]
    assert cli._parsed(name, module_of(name), words)


@pytest.mark.parametrize("one", [o for o in LINES if not o.whole], ids=lambda o: o.line)
def test_a_mentioned_option_exists(one):
    name, words = command_of(one)
    known = {f"--{field.name.replace('_', '-')}" for field in fields(module_of(name).Config)}
    assert {word for word in words if word.startswith("--")} <= known, one.where


def test_mentioned_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = {o.words[0]: o.where for o in LINES if o.line.startswith("make ")}
    assert len(wanted) > 5
    assert {name: where for name, where in wanted.items() if name not in targets} == {}


def test_the_lines_are_found():
    """At least one line of each command; a recipe, a page and an error message among them."""
    assert {one.words[0] for one in WHOLE} == set(cli.COMMANDS)
    found = {one.line for one in LINES}
    assert "fastbrain audit store" in found  # block of a page
    assert "fastbrain decode RUN" in found  # table of a page
    assert "fastbrain evaluate runs/first --derangements 1000" in found  # docstring
    assert "fastbrain train --resume" in found  # error message
    long = [line for line in found if line.endswith("--new-stimuli --categories coco")]
    assert long  # goes on in a second line
