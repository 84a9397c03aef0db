"""Command line: selects a subcommand, imports only its module, prints errors in one line."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import MISSING, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

from . import __version__
from ._devices import check_device
from ._environment import check_alone, check_launch, is_follower
from ._progress import silence
from ._threads import share_cores
from .errors import ConfigError, FastbrainError, MissingPartError

# name -> description, in the order in which a new user needs them
COMMANDS = {
    "doctor": "what is installed, what is missing, which backend runs and why",
    "selftest": "check every kernel on this machine against its reference",
    "demo": "simulate a cohort, train, decode an unseen subject, report",
    "study": "make a public data set ready; `study ablate` and others vary a trained run",
    "prepare": "turn a runs table, a BIDS tree or a study into a voxel store",
    "store": "show what a store holds; `store verify`, `merge`, `append` and `export`",
    "quality": "show the quality of every run of a store: table, carpet plots, head motion",
    "bids-app": "prepare stores as a BIDS-App; the same as the command fastbrain-bids",
    "fetch": "download a public data set from OpenNeuro, at a fixed version",
    "audit": "look for leaks between the parts of a store's split",
    "train": "train LLM4Brain on a store; `train brainllm`, `train vq-lm`, or `train scmbm` alone",
    "adapt": "fit a trained model to a new person, on a few labelled runs",
    "decode": "write the text that a trained model reads from brain windows",
    "live": "decode a running scan within its repetition time; `live --rehearse` tries it",
    "evaluate": "score a trained model beside its controls and write the report",
    "human-study": "score the answers of people to the forms of `evaluate --human-study`",
    "leave-out": "hold out every person, run, session or story once: prepare, train and score",
    "compare": "put evaluated runs side by side, with paired tests",
    "bench": "time the kernels and other packages; `bench compare`, `estimate`, `plot`, `report`",
    "convert": "write the tensors of a torch pickle as safetensors, running nothing of it",
    "push": "upload a trained model, with its card, to the Hugging Face hub",
}

# command -> its recipes; the first is the default
RECIPES = {
    "train": {
        "llm4brain": "train",
        "scmbm": "train_scmbm",
        "brainllm": "train_brainllm",
        "vq-lm": "train_vqlm",
    },
    "store": {
        "info": "store",
        "verify": "store_verify",
        "merge": "store_merge",
        "append": "store_append",
        "export": "store_export",
    },
    "study": {
        "dataset": "study",
        "ablate": "study_ablate",
        "capacity": "study_capacity",
        "noise": "study_noise",
        "prompt-length": "study_prompt_length",
        "regions": "study_regions",
        "rest-task": "study_rest_task",
        "samples": "study_samples",
        "lebel": "study_lebel",
        "narratives": "study_narratives",
        "pereira": "study_pereira",
        "rest": "study_rest",
    },
    "bench": {
        "run": "bench",
        "compare": "bench_compare",
        "estimate": "bench_estimate",
        "plot": "bench_plot",
        "report": "bench_report",
    },
    "leave-out": {
        "llm4brain": "leave_out",
        "brainllm": "leave_out_brainllm",
        "vq-lm": "leave_out_vqlm",
    },
}

# commands that write nothing, and so may run in several processes at once
_ANYWHERE = ("doctor", "selftest")
# commands that several processes run together; only the first prints
_TOGETHER = tuple(RECIPES["train"].values())

_HELP = """usage: fastbrain [--debug] COMMAND [OPTIONS]

Turns fMRI into language.

{commands}

fastbrain COMMAND --help shows the options of a command with an example.
--debug shows the traceback of an error; --version prints the version.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the arguments of the process.

    Returns
    -------
    int
        0 on success, 1 after an error (printed in one line), 2 for wrong usage, 130 when
        interrupted.
    """
    share_cores()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _choose(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def bids_app() -> int:
    """Run ``fastbrain bids-app`` under the name ``fastbrain-bids``."""
    arguments = sys.argv[1:]
    return main(["--version"] if arguments == ["--version"] else ["bids-app", *arguments])


def _choose(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
        print(_HELP.format(commands=lines), end="")
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        print(f"fastbrain: no command '{name}'.{hint} See fastbrain --help.", file=sys.stderr)
        return 2
    return _run(name, rest, debug)


def _run(name: str, rest: list[str], debug: bool) -> int:
    file = name.replace("-", "_")
    if rest and rest[0] in RECIPES.get(name, {}):
        file = RECIPES[name][rest[0]]
        name, rest = f"{name} {rest[0]}", rest[1:]
    wants_help = "-h" in rest or "--help" in rest
    resumes = False
    try:
        if file not in _ANYWHERE and not wants_help:
            (check_launch if file in _TOGETHER else check_alone)(name)
        if file != "doctor":  # it reports what is missing, so it must run without tyro
            _check_tyro(name)
        module = importlib.import_module(f".commands.{file}", __package__)
        resumes = hasattr(module.Config, "resume")
        _check_once(name, rest)
        config = _parsed(name, module, rest)
        if (device := getattr(config, "device", None) or "cpu") != "cpu":
            check_device(device, function=name)
        if file in _TOGETHER and is_follower():
            silence(True)
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                return int(module.run(config) or 0)
        return int(module.run(config) or 0)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        if debug:
            raise
        how = "Continue with --resume." if resumes else "Run it again."
        print(f"fastbrain {name}: interrupted. Finished work is kept. {how}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug:
            raise
        said = _in_one_line(error).removeprefix(f"{name}: ").removeprefix(f"{name.split()[0]}: ")
        print(f"fastbrain {name}: {said}", file=sys.stderr)
        return 1


def _check_tyro(name: str) -> None:
    try:
        import tyro  # noqa: F401
    except ImportError as error:
        raise MissingPartError(
            f"{name}: the package tyro must be installed, got none. pip install tyro"
        ) from error


def _check_once(name: str, rest: list[str]) -> None:
    """Raise for an option that occurs twice, of which the parser would keep the last in silence."""
    names = takewhile(lambda a: a != "--", rest)
    found = (re.fullmatch(r"(--[a-z][\w-]*)(=.*)?", a, re.DOTALL) for a in names)
    options = Counter(match[1].replace("_", "-") for match in found if match)
    for option, times in options.items():
        if times > 1:
            raise ConfigError(
                f"{name}: {option} must be given once, got it {times} times. Name several values "
                f"behind one option: {option} FIRST SECOND."
            )


def _parsed(name: str, module: Any, rest: list[str]) -> Any:
    try:
        import tyro
    except ImportError:
        return module.Config(json="--json" in rest)
    options = {}
    if any(a.replace("_", "-") == "--print-config" for a in rest):
        options["default"] = _without_folders(module.Config)
    elif hasattr(module.Config, "defaults") and (found := module.Config.defaults(rest)):
        options["default"] = found
    return tyro.cli(
        module.Config,
        args=rest,
        prog=f"fastbrain {name}",
        description=module.__doc__,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
        **options,
    )


def _without_folders(config: Any) -> Any:
    """Make the options of a command that prints its configuration: it needs no store and no run."""
    needed = [field.name for field in fields(config) if field.default is MISSING]
    return config(**{name: Path(name) for name in needed})


def _in_one_line(error: Exception) -> str:
    if isinstance(error, FastbrainError):
        return str(error)
    said = " ".join(str(error).split())[:300] or "no message"
    remedy = "Run it again with --debug, and report what it prints."
    if isinstance(error, OSError) and error.strerror:
        remedy = "Correct it, or choose another file or folder."
    return f"unexpected {type(error).__name__}: {said}. {remedy}"


if __name__ == "__main__":
    raise SystemExit(main())
