"""Builds the extension with its CUDA sources compiled as C++ against the emulation beside this."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pybind11

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "csrc"
# what needs the CUDA runtime, and what is for one instruction set alone
LEFT_OUT = {
    *("device.cpp", "lora_tiles.cpp", "neighborhood_tiles.cpp", "voxel_tokenizer_bfloat16.cpp"),
    *("voxel_tokenizer_tiles.cpp", "vq_screen.cpp"),
}


def build(folder: Path) -> Path:
    """Compile into `folder`; returns the extension's path."""
    includes = [HERE, pybind11.get_include(), sysconfig.get_path("include")]
    flags = ["-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-w"]
    # a fiber jumps to the stack of another one, which the checked longjmp refuses
    flags += ["-U_FORTIFY_SOURCE"]
    flags += ["-DFASTBRAIN_CUDA", "-DFASTBRAIN_CUDA_EMULATED", "-DFASTBRAIN_NAMESPACE=baseline"]
    flags += [f"-I{path}" for path in includes]

    def compile_one(source: Path) -> Path:
        to = folder / f"{source.name}.o"
        subprocess.run(["c++", *flags, "-x", "c++", "-c", source, "-o", to], check=True)
        return to

    sources = {path for kind in ("*.cpp", "*.cu") for path in SOURCES.glob(kind)}
    # the bindings as one source: most of the time of each is that of the headers of pybind11
    bindings = sorted(path for path in sources if path.name.startswith(("bind_", "module")))
    whole = folder / "bindings.cpp"
    whole.write_text("".join(f'#include "{path}"\n' for path in bindings))
    rest = sorted(s for s in sources - {*bindings} if s.name not in LEFT_OUT)
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [whole, *rest]))
    path = folder / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(["c++", "-shared", *objects, "-o", path, "-lpthread"], check=True)
    return path


def install(path: Path) -> ModuleType:
    """Make the extension at `path` the one that fastbrain imports; call before importing it."""
    assert "fastbrain._native" not in sys.modules
    spec = spec_from_file_location("fastbrain._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["fastbrain._native"] = module
    return module
