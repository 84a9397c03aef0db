"""A device that cannot be used is refused by every command and function before any work."""

from __future__ import annotations

import ast
import importlib
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import fastbrain
from fastbrain import cli
from fastbrain._devices import device_fault
from fastbrain.errors import InputError
from fastbrain.lm import load_llm

# what stands between the command and --device; names are looked for in a folder that is empty
COMMANDS = {
    "adapt": ["run", "store", "out", "--subject", "1", "--runs", "1"],
    "bench": [],
    "bench estimate": ["vq_lookup", "4x8x2"],
    "decode": ["run", "--out", "out"],
    "doctor": ["--llm", "folder"],
    "evaluate": ["run"],
    "leave-out brainllm": ["source", "out"],
    "leave-out": ["source", "out"],
    "live": ["run", "--source", "replay:scan.nii"],
    "prepare": ["source", "out"],
    "selftest": [],
    "study ablate": ["run", "out"],
    "study capacity": ["run", "out"],
    "study noise": ["run", "out"],
    "study prompt-length": ["run", "out"],
    "study regions": ["run", "out", "--atlas", "atlas.nii"],
    "study rest-task": ["rest", "task", "out"],
    "study samples": ["run", "out"],
    "study": ["had", "source", "out", "--test-subjects", "01"],
    "train brainllm": ["store", "out"],
    "train scmbm": ["store", "out"],
    "train": ["store", "out"],
}


@pytest.fixture
def built_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)


def gpus(monkeypatch, count: int) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def commands_with_a_device() -> set[str]:
    files = {name: name.replace("-", "_") for name in cli.COMMANDS if name not in cli.RECIPES}
    for name, recipes in cli.RECIPES.items():
        first, *others = recipes
        files[name] = recipes[first]
        files |= {f"{name} {recipe}": recipes[recipe] for recipe in others}
    modules = {n: importlib.import_module(f"fastbrain.commands.{f}") for n, f in files.items()}
    return {n for n, m in modules.items() if "device" in {f.name for f in fields(m.Config)}}


def test_the_table_has_every_command_with_a_device():
    assert commands_with_a_device() == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_refuse_cuda_without_cuda(built_without_cuda, monkeypatch, tmp_path, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*name.split(), *COMMANDS[name], "--device", "cuda"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fastbrain {name}: ")
    assert "is built without CUDA: use cpu, or install a torch with CUDA" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("count", "device", "told"),
    [
        (0, "cuda", "No CUDA GPU was found"),
        (1, "cuda:99", "This machine has 1 CUDA GPU: use cuda:0."),
        (2, "cuda:2", "This machine has 2 CUDA GPUs: use cuda:0 to cuda:1."),
        (1, "gpu", "no device of torch: use cpu or cuda."),
        (1, 3, "no device of torch"),
        (1, "meta", "holds no values"),
        (1, torch.device("meta"), "holds no values"),
    ],
    ids=str,
)
def test_why_a_device_cannot_be_used(monkeypatch, count, device, told):
    gpus(monkeypatch, count)
    assert told in device_fault(device)
    with pytest.raises(InputError, match="load_llm: device must be a device of this machine"):
        load_llm("nowhere", device=device)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "cpu:0"], ids=repr)
def test_the_cpu_can_always_be_used(device):
    assert device_fault(device) is None


def test_every_function_that_takes_a_device_checks_it():
    """`checked` looks at a parameter called ``device``: the name is enough."""
    unchecked = []
    for file in sorted(Path(fastbrain.__file__).parent.rglob("*.py")):
        text = file.read_text()
        if "device" not in text:
            continue
        nodes = list(ast.walk(ast.parse(text)))
        checked = [n for n in nodes if "checked" in marks(n)]
        # a checked class checks the arguments of its __init__
        checked += [part for n in checked if isinstance(n, ast.ClassDef) for part in n.body]
        for node in nodes:
            if isinstance(node, ast.FunctionDef) and node not in checked:
                arguments = [*node.args.args, *node.args.kwonlyargs]
                if any(a.arg == "device" and ast.unparse(a.annotation) == "str" for a in arguments):
                    unchecked.append(f"{file.name}: {node.name}")
    assert unchecked == ["_selftest.py: check"]  # private; `fastbrain selftest` has checked it


def marks(node: ast.AST) -> set[str]:
    return {ast.unparse(d).partition("(")[0] for d in getattr(node, "decorator_list", ())}
