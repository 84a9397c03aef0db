"""The command line: quick help, helpful refusals, exit codes, and the two commands for checking."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from fastbrain import __version__, cli
from fastbrain.errors import InputError, SplitError

# The promise is 0.5 s on a quiet machine. A machine that runs tests is not quiet: the best of
# three may take twice that. What would break the promise, an import of torch, takes longer still
# and is looked for by name.
HELP_SECONDS = 2 * 0.5


def fastbrain(*args: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in its own process, after `code`."""
    program = f"{code}\nimport sys; from fastbrain.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True)


def test_help_is_quick():
    seconds = []
    for _ in range(3):
        before = os.times()
        ran = fastbrain("--help")
        # processor time of the child: the same beside other processes
        now = os.times()
        used = now.children_user - before.children_user
        seconds.append(used + now.children_system - before.children_system)
        assert ran.returncode == 0
    assert min(seconds) <= HELP_SECONDS


def test_help_imports_no_torch():
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    assert fastbrain("--help", code=code).stdout.splitlines()[-1] == "False"


def test_no_command_module_imports_heavy_packages():
    """The rule of CONTRIBUTING.md: ``--help`` of a command imports its module and nothing else."""
    heavy = ("torch", "transformers", "nilearn", "scipy", "pyarrow", "nibabel", "matplotlib")
    code = f"""
import importlib, pkgutil, sys
import fastbrain.commands as commands
known = set()
for module in pkgutil.iter_modules(commands.__path__):
    importlib.import_module(f"fastbrain.commands.{{module.name}}")
    found = {{name for name in {heavy} if name in sys.modules}} - known
    known |= found
    print(module.name, *sorted(found))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    files = {file for recipes in cli.RECIPES.values() for file in recipes.values()}
    files |= {name.replace("-", "_") for name in cli.COMMANDS}
    assert files <= {line.split()[0] for line in lines}
    assert [line for line in lines if " " in line] == []


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"]])
def test_help_names_every_command(args, capsys):
    assert cli.main(args) == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in shown


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: fastbrain {name}" in shown
    # the one in "usage:" and at least one example
    assert shown.count(f"fastbrain {name}") >= 2


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "fastbrain", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == __version__


def test_unknown_command_suggests(capsys):
    assert cli.main(["prepair"]) == 2
    told = capsys.readouterr().err
    assert "Did you mean 'prepare'?" in told
    assert len(told.splitlines()) == 1


def test_unknown_command_without_a_near_one(capsys):
    assert cli.main(["zzz"]) == 2
    assert "Did you mean" not in capsys.readouterr().err


def test_unknown_option_is_wrong_usage(capsys):
    assert cli.main(["doctor", "--jsn"]) == 2
    assert "--json" in capsys.readouterr().err


def test_an_option_given_twice_is_refused(capsys):
    """The parser would keep the last one in silence."""
    assert cli.main(["bench", "run", "--op", "vq_lookup", "--op=lora_linear"]) == 1
    said = capsys.readouterr().err
    assert "--op must be given once, got it 2 times" in said
    assert "--op FIRST SECOND" in said


def test_error_is_one_line(tmp_path):
    ran = fastbrain("prepare", str(tmp_path / "none.tsv"), str(tmp_path / "store"))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("fastbrain prepare: ")
    assert "none.tsv" in ran.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(tmp_path, place):
    args = ["prepare", str(tmp_path / "none.tsv"), str(tmp_path / "store")]
    args.insert(0 if place == "before" else len(args), "--debug")
    ran = fastbrain(*args)
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert "CohortError" in ran.stderr


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ZeroDivisionError("a\nb"), "unexpected ZeroDivisionError: a b. Run it again with --debug"),
        (PermissionError(13, "Permission denied", "x.tsv"), "'x.tsv'. Correct it, or choose"),
    ],
)
def test_any_other_exception_is_one_line_too(monkeypatch, capsys, raised, told):
    from fastbrain.commands import doctor

    def broken(config):
        raise raised

    monkeypatch.setattr(doctor, "run", broken)
    assert cli.main(["doctor"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert told in line
    with pytest.raises(type(raised)):
        cli.main(["doctor", "--debug"])


def test_what_goes_on_after_an_interrupt_is_said(monkeypatch, capsys, tmp_path):
    from fastbrain.commands import train

    def stopped(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", stopped)
    assert cli.main(["train", str(tmp_path), str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err.strip().endswith("Continue with --resume.")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_a_second_process_is_refused_before_anything_is_written(
    monkeypatch, capsys, tmp_path, name
):
    monkeypatch.setenv(name, "2")
    # a launcher that does not tell the processes of each other
    for command in (["demo", "--out"], ["train", "store"], ["prepare", "runs.tsv"]):
        assert cli.main([*command, str(tmp_path / "out")]) == 1
        assert f"one process must run, got {name}=2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main(["train", "--help"]) == 0


@pytest.mark.parametrize("name", ["doctor", "train"])
def test_without_tyro(monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, "tyro", None)
    if name == "doctor":
        assert cli.main([name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["versions"]
    else:
        monkeypatch.delitem(sys.modules, "fastbrain.commands.train", raising=False)
        assert cli.main([name, "a", "b"]) == 1
        assert "tyro must be installed" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["", *cli.RECIPES["train"]])
def test_a_configuration_is_printed_without_store_and_run(recipe, capsys):
    assert cli.main(["train", *recipe.split(), "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert cli.main(["train", *recipe.split(), "--resume"]) == 2
    assert "Required options" in capsys.readouterr().err


def test_the_name_of_a_command_is_said_once(capsys, tmp_path):
    levels = ["--levels", "-1", "--dry-run"]
    assert cli.main(["study", "noise", str(tmp_path), str(tmp_path / "new"), *levels]) == 1
    assert capsys.readouterr().err.startswith("fastbrain study noise: levels must be")


def test_help_names_what_goes_where(capsys):
    assert cli.main(["adapt", "--help"]) == 0
    assert "RUN STORE NEW-RUN" in capsys.readouterr().out


def test_what_is_no_store_is_told_with_the_remedy(capsys, tmp_path):
    for command in (["audit"], ["train"], ["train", "scmbm"], ["train", "brainllm"]):
        options = [] if command == ["audit"] else [str(tmp_path / "out")]
        assert cli.main([*command, str(tmp_path), *options]) == 1
        assert "got none. Name a folder that fastbrain prepare wrote." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_no_run(capsys, tmp_path):
    (tmp_path / "prepare.json").write_text("{}")
    for command in ("decode", "evaluate"):
        assert cli.main([command, str(tmp_path)]) == 1
        assert "must be a run folder, got a voxel store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "match"),
    [
        (["audit"], "must be a voxel store, got a run of vq-lm, which has none"),
        (["evaluate", "--no-bert"], "--no-bert must be left out for a run of vq-lm"),
        (["decode", "--no-confidence"], "--no-confidence must be left out for a run of vq-lm"),
        (["decode", "--seed", "3"], "--seed must be left out for a run of vq-lm"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_a_run_of_vqlm_has_not_is_refused(capsys, tmp_path, command, match):
    (tmp_path / "manifest.json").write_text('{"kind": "vq-lm"}')
    assert cli.main([command[0], str(tmp_path), *command[1:]]) == 1
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--llm", "smollm2"], "--llm must be left out for --decoder soft-prompt"),
        (["--decoder", "mixture", "--llm", "smollm2"], "--llm must be left out for --decoder mix"),
        (["--sentence-encoder", "x"], "--sentence-encoder must be left out for --decoder soft"),
        (
            ["--decoder", "retrieve", "--edit-seconds", "9"],
            "for --decoder retrieve, which does not",
        ),
        (["--decoder", "mixture", "--evidence-texts", "64"], "which writes no such texts"),
        (["--decoder", "retrieve", "--engine"], "--engine must be left out for --decoder retrieve"),
        (["--decoder", "edit", "--beams", "3"], "--beams must be left out for --decoder edit"),
        (["--decoder", "mixture", "--human-study", "forms"], "--human-study must be left out"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_options_of_another_decoder_are_refused(capsys, tmp_path, options, match):
    (tmp_path / "manifest.json").write_text('{"kind": "brainllm"}')
    assert cli.main(["evaluate", str(tmp_path), *options]) == 1
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status"), [(InputError("x: y must be z."), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_status(monkeypatch, capsys, raised, status):
    from fastbrain.commands import doctor

    def stopped(config):
        raise raised

    monkeypatch.setattr(doctor, "run", stopped)
    assert cli.main(["doctor"]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_doctor_lists_every_op_and_backend(capsys):
    from fastbrain.ops._dispatch import FAMILIES, NAMES

    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {answer["op"] for answer in found["backends"]} == set(FAMILIES)
    for answer in found["backends"]:
        assert set(answer["backends"]) == set(NAMES)
        assert answer["backends"][answer["chosen"]] is None
    assert found["native"]["isa"] in found["native"]["isas"]
    assert "writable" in found["environment"]["working folder"]
    assert found["attention"]["why"]
    assert all(part["install"].startswith("pip install ") for part in found["optional"])


def test_doctor_prints_lines_where_nobody_looks(capsys):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert __version__ in shown
    assert "tokenize_voxels" in shown
    assert "cache folder" in shown
    assert "\x1b" not in shown


def test_doctor_prints_tables_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert cli.main(["doctor"]) == 0
    assert "Backends" in sys.stdout.getvalue()
    assert "─" in sys.stdout.getvalue()


def test_doctor_survives_a_missing_extension():
    ran = fastbrain("doctor", "--json", code="import sys; sys.modules['fastbrain._native'] = None")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["native"]["built"] is False
    plain = fastbrain("doctor", code="import sys; sys.modules['fastbrain._native'] = None")
    assert "fastbrain._native    cannot be loaded: " in plain.stdout


def test_a_source_without_its_compiled_part_says_what_to_do():
    ran = fastbrain("selftest", code="import sys; sys.modules['fastbrain._native'] = None")
    assert ran.returncode == 1
    assert "unexpected" not in ran.stderr
    assert "the compiled part fastbrain._native must be in" in ran.stderr
    assert "run from another folder than this source" in ran.stderr
    assert "make setup" in ran.stderr


def test_doctor_names_what_brings_a_missing_part(monkeypatch, capsys):
    from fastbrain.commands import doctor

    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda n: None if n == "nilearn" else real(n))
    assert cli.main(["doctor"]) == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if "nilearn " in row)
    assert "missing" in line
    assert "pip install 'fastbrain-fmri[demo]'" in line


def test_doctor_notices_the_other_package_of_that_name(monkeypatch, capsys):
    from fastbrain.commands import doctor

    real = doctor.version
    assert doctor.report()["conflict"] is None
    monkeypatch.setattr(doctor, "version", lambda n: "3.1" if n == "fastbrain" else real(n))
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "the package fastbrain 3.1 is installed, which is not this project" in out
    assert real(doctor.DISTRIBUTION) == __version__


def test_selftest_passes(capsys):
    assert cli.main(["selftest", "--backend", "cpu", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("PASS  tokenize_voxels") for line in lines)
    assert not any("FAIL" in line for line in lines)


def test_selftest_fails_on_a_wrong_kernel(monkeypatch, capsys):
    from fastbrain.ops import _selftest

    monkeypatch.setattr(_selftest, "check", lambda *args: (False, 0.5))
    assert cli.main(["selftest", "--backend", "cpu", "--device", "cpu"]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  tokenize_voxels" in shown
    assert "PASS" not in shown


def test_selftest_shows_why_a_case_crashed(monkeypatch, capsys):
    from fastbrain.ops import _selftest

    def crash(*args):
        raise ArithmeticError("lost a digit")

    monkeypatch.setattr(_selftest, "check", crash)
    assert cli.main(["selftest", "--backend", "cpu", "--device", "cpu"]) == 1
    assert "ArithmeticError: lost a digit" in capsys.readouterr().out


def test_selftest_refuses_to_pass_where_nothing_ran(capsys):
    # no op of the CPU runs on a backend called cuda
    assert cli.main(["selftest", "--backend", "cuda", "--device", "cpu"]) == 1
    assert "doctor says why" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [("--task", "x"), ("--echo", "2"), ("--space", "T1w")], ids=lambda o: o[0]
)
def test_options_of_bids_are_refused_for_a_runs_table(tmp_path, capsys, option):
    table = tmp_path / "runs.tsv"
    table.write_text("subject\tbold\tevents\n")
    command = ["prepare", str(table), str(tmp_path / "out"), "--dry-run", *option]
    assert cli.main([*command, "--test-subjects", "1"]) == 1
    assert f"{option[0]} must be left out for a runs table" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_a_device_that_is_not_there_is_refused_before_work(tmp_path, capsys, device):
    assert cli.main(["decode", str(tmp_path / "run"), "--device", device]) == 1
    assert "decode: device must" in capsys.readouterr().err


def test_a_folder_in_place_of_an_output_is_refused_before_work(tmp_path, capsys):
    assert cli.main(["decode", str(tmp_path / "run"), "--out", str(tmp_path)]) == 1
    assert "must be a file to write, got a folder" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--subjects", "1"), "--subjects must be 2 or more, got 1"),
        (("--derangements", "99"), "--derangements must be 100 or more, got 99"),
    ],
    ids=["subjects", "derangements"],
)
def test_a_demo_is_refused_before_it_starts(tmp_path, capsys, more, options, told):
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), *options, *more]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("key", "values", "plain"),
    [
        ("subject", ("sub-06", "7"), ("06", "7")),
        ("run", ("run-1",), ("1",)),
        ("session", ("ses-a",), ("a",)),
        ("story", ("sub-plot",), ("sub-plot",)),
    ],
)
def test_labels_may_have_their_prefix(key, values, plain):
    from fastbrain.commands._splits import SplitOptions, plain_labels

    assert plain_labels(key, values) == plain
    if key == "subject":
        with pytest.raises(SplitError, match=r"06.*7"):
            SplitOptions(test_subjects=values).splitter("prepare")([])


@pytest.mark.parametrize("folds", [0, -3])
def test_too_few_folds_are_named(folds):
    from fastbrain.commands._splits import SplitOptions

    with pytest.raises(SplitError, match=f"folds must be >= 3, got {folds}"):
        SplitOptions(folds=folds).splitter("prepare")([])
