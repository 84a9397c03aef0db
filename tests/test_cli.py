"""The command line: quick help, one line for an error, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from own_process import fastbrain, processor_seconds

from fastbrain import __version__, cli
from fastbrain.errors import InputError

# of the processor time of an import of torch on the same machine, which takes two seconds on one
# where the help takes a tenth of a second; the promise is half a second
HELP_SHARE = 1 / 4


def test_help_is_quick():
    program = "from fastbrain.cli import main; main(['--help'])"
    best = min(processor_seconds(program) for _ in range(3))
    assert best <= HELP_SHARE * processor_seconds("import torch")


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
