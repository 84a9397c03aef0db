"""Every command line that is printed anywhere can be typed: it runs on a tiny cohort.

A new line needs no entry here as long as its positional arguments have the roles of its command
(`ROLES`) and its options are taken literally. Otherwise it fails, and says which table it needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module

import pytest
from printed_commands import ROOT, Printed, collect
from printed_world import SPLIT, World

from fastbrain import cli

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
# the cohort has no split of its own, as a study has: SPLIT is added where none is given
SPLITS = ("--test-subjects", "--folds", "--train", "--split-by", "--like")
# lines that are parsed and not run, and why
PARSED = {
    "bench plot --run": "it needs two runs; test_bench_curves.py draws logs",
    "bench compare --base": "it builds another commit; test_bench_base.py runs the parts",
    "bids-app": "test_bids_app_command.py runs it on people of its own",
    "decode --decoder": "it needs an evaluation of minutes; test_sentence_runs.py runs it",
    "fetch": "it downloads; test_fetch.py runs it",
    "leave-out --derivatives": "the cohort has none; test_leave_out.py runs it",
    "prepare --dataset": "it reads a public data set; test_presets.py runs it",
    "prepare --derivatives": "the cohort has none; test_fmriprep_derivative.py runs it",
    "live": "it waits for a scanner; test_live_command.py runs it",
    "prepare --video-model": "its model has gigabytes; test_prepare_annotations.py asks a tiny one",
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


@pytest.mark.slow(seconds=60, apart=True)
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
