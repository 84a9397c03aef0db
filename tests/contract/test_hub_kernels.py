"""The repository of kernels for the Hugging Face Hub: its form, its package and its workloads."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
from interpreted import interpreted

pytest.importorskip("triton", reason="triton is not installed")

HUB = Path(__file__).parents[2] / "kernels" / "hub"


def assembler() -> SimpleNamespace:
    spec = importlib.util.spec_from_file_location("assemble_hub_kernels", HUB / "assemble.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "fastbrain-kernels"
    assembler().assemble(folder, "cpu")
    return folder


def test_the_repository_has_the_form_of_a_kernel(repository):
    module = assembler()
    config = (repository / "build.toml").read_text()
    assert f'name = "{module.NAME}"' in config
    assert f"version = {module.VERSION}\n" in config
    assert re.fullmatch(r"[a-z][-a-z0-9]*[a-z0-9]", module.NAME)
    package = repository / "torch-ext" / module.PACKAGE
    variant = repository / "build" / "torch-cpu"
    names = {path.name for path in package.glob("*.py")}
    assert names == {path.name for path in HUB.parent.glob("*.py")} | {"__init__.py"}
    assert {path.name for path in variant.glob("*.py")} == names
    metadata = json.loads((variant / "metadata.json").read_text())
    assert metadata["backend"] == {"type": "cpu"}
    assert metadata["id"].isidentifier()
    with pytest.raises(FileExistsError):
        module.assemble(repository)


def test_the_package_can_be_loaded_from_any_path(repository):
    """Two versions may be loaded at once, so a kernel imports its own modules relatively."""
    for path in (repository / "torch-ext").rglob("*.py"):
        imports = re.findall(r"^\s*(?:from|import) ([.\w]+)", path.read_text(), re.MULTILINE)
        roots = {name.split(".")[0] for name in imports if not name.startswith(".")}
        assert roots <= {*sys.stdlib_module_names, "torch", "triton"}, path
        assert "torch.library" not in path.read_text()


# the protocol of ``kernels benchmark``: a fresh instance, its set-up, a call, the verification
WORKLOADS = """
import importlib.util, sys, types
from pathlib import Path
import torch
torch.set_num_threads(1)

class Benchmark:
    pass

stub = types.ModuleType("kernels.benchmark")
stub.Benchmark = Benchmark
sys.modules["kernels"] = types.ModuleType("kernels")
sys.modules["kernels.benchmark"] = stub

def load(name, path, package=False):
    folder = [str(path.parent)] if package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folder)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

repository = Path(sys.argv[1])
kernel = load("some_unique_name", repository / "build/torch-cpu/__init__.py", package=True)
script = load("benchmark_module", repository / "benchmarks/benchmark.py")
for name in dir(script.FastbrainBenchmark):
    if name.startswith("benchmark_"):
        work = script.FastbrainBenchmark()
        work.kernel, work.device, workload = kernel, "cpu", name.removeprefix("benchmark_")
        torch.manual_seed(work.seed)
        getattr(work, f"setup_{workload}")()
        getattr(work, name)()
        truth = getattr(work, f"verify_{workload}")()
        print(workload, torch.allclose(work.out, truth, atol=1e-2))
"""


def test_every_workload_is_verified(repository):
    ran = subprocess.run(
        [sys.executable, "-c", WORKLOADS, repository],
        env=interpreted(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    lines = dict(line.split() for line in ran.stdout.splitlines())
    assert lines == dict.fromkeys(("nearest", "lora_linear", "tokenize_voxels"), "True")


LOADED = """
import sys
from pathlib import Path
from kernels import get_local_kernel
from kernels._rust import Build, Metadata
repository = Path(sys.argv[1])
print(*Build.open(repository).general.backends)
print(Metadata.read_from_file(repository / "build/torch-cpu/metadata.json").name)
print(callable(get_local_kernel(repository, backend="cpu").nearest))
"""


# not by its module: the checkout has a folder of that name
theirs = pytest.mark.skipif(
    not [*distributions(name="kernels")],
    reason="the package kernels of Hugging Face is not installed",
)


@theirs
def test_their_command_verifies_every_workload(repository, tmp_path):
    main = "import sys; from kernels.cli import main; sys.argv[0] = 'kernels'; main()"
    options = ["--iterations", "1", "--warmup", "0", "--output", "found.json"]
    ran = subprocess.run(
        [sys.executable, "-c", main, "benchmark", repository, *options],
        env={**interpreted(), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())["results"]
    names = {row["workload"].partition(".")[2]: row["verified"] for row in found}
    assert names == dict.fromkeys(("nearest", "lora_linear", "tokenize_voxels"), True)


@theirs
def test_the_kernels_of_hugging_face_load_it(repository, tmp_path):
    """Their package parses ``build.toml`` and the metadata, picks the variant and imports it."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, repository],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.split() == ["cuda", "fastbrain-kernels", "True"]
