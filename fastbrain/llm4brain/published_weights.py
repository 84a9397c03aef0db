"""Load weights published by other projects: safetensors only, strict, with a digest.

A pickle can run code when it is opened. Only :func:`convert_pickle` opens one here; it lets torch
read tensors and plain values only, and writes them as safetensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._arguments import checked
from .._io import sha256, write_atomic
from ..errors import CheckpointError
from ..nn.layers import Adapter
from ..nn.state_dict import load_strict
from .encoder import SCMBM
from .tokenizer import VoxelTokenizer

# keys under which a training loop may have saved the tensors of the model
_NESTED = ("model", "state_dict", "model_state_dict")
# Mind-Vis and Mind-Video name -> our name, inside a block
_BLOCK = {
    "norm1": "norm_attention",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "norm_temp": "norm_time",
    "attn_temp.qkv": "time.qkv",
    "attn_temp.proj": "time.out",
    "norm2": "norm_mlp",
    "mlp.fc1": "mlp.up",
    "mlp.fc2": "mlp.down",
}
# not loaded: our tokenizer replaces patch_embed, and decoders and heads serve other tasks
_UNUSED = re.compile(
    r"(patch_embed|mask_token|decoder_\w+|nature_img_\w+|proj_head|logit_scale)(\.|$)"
)
_STATISTICS = ("tokenizer.mean", "tokenizer.inv_std")
_OF_TIME = re.compile(r"^time$|\.(time|norm_time)\.")


@dataclass(frozen=True)
class Published:
    """Record of loaded weights, for the manifest of a run.

    Parameters
    ----------
    file, sha256 : str
        Name and digest of the file.
    source : str
        Digest of the pickle that was converted to the file; "" if there was none.
    positions : str
        How the position table was used.
    tokenizer : bool
        Whether the weights of a tokenizer were loaded from the file.
    unused : tuple of str
        Tensors of the file that were not loaded.
    fresh : tuple of str
        Parts of the module that are not in the file.
    """

    file: str
    sha256: str
    source: str
    positions: str
    tokenizer: bool
    unused: tuple[str, ...]
    fresh: tuple[str, ...]


@checked
def convert_pickle(path: str | Path, out: str | Path) -> Path:
    """Convert the tensors of a torch pickle to safetensors, without running code in it.

    Parameters
    ----------
    path : str or Path
        ``checkpoint.pth``, ``diffusion_pytorch_model.bin``.
    out : str or Path
        Path of the safetensors file.

    Returns
    -------
    Path

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or contains more than tensors and plain values.
    """
    from safetensors.torch import save

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"convert_pickle: {path} must be a file, got none there.")
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # the error of torch names the class that it refused to load
        reason = next(iter(re.findall(r"GLOBAL ([\w.]+)", str(error))), "it is damaged")
        raise CheckpointError(
            f"convert_pickle: {path} must hold tensors and plain values only, got {reason}. Save "
            "its state dict alone where its own code can open it."
        ) from error
    tensors = _tensors(value)
    if not tensors:
        raise CheckpointError(f"convert_pickle: {path} must hold tensors by name, got none.")
    # transformers reads the framework from the metadata
    whole = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    return write_atomic(out, save(whole, metadata={"format": "pt", "source_sha256": sha256(path)}))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a safetensors file, and the digest of its source pickle, or "".

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or a pickle.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, (file.metadata() or {}).get(
                "source_sha256", ""
            )
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"read_tensors: {path} must be a safetensors file, got '{error}'. Convert a pickle "
            "with fastbrain.llm4brain.convert_pickle."
        ) from error


@checked
def load_scmbm(
    encoder: SCMBM, path: str | Path, *, tokenizer: VoxelTokenizer | None = None
) -> Published:
    """Load a published SC-MBM encoder (Mind-Vis, Mind-Video) or one saved by fastbrain.

    Blocks must agree in number and width. The published position table is for a 1-D sequence of
    patches of the visual cortex. An encoder with ``positions="table"`` interpolates it along its
    own order of patches; one with ``"brain"`` keeps its code in mm. Adapters are unchanged, and so
    is the temporal attention if the file has none.

    Parameters
    ----------
    encoder : SCMBM
    path : str or Path
        Safetensors file; see :func:`convert_pickle`.
    tokenizer : VoxelTokenizer, optional
        Receives the tokenizer weights in files saved by fastbrain; its voxel statistics are
        unchanged.

    Returns
    -------
    Published

    Raises
    ------
    CheckpointError
        Tensors are missing, unknown or have another shape; the message names them.
    """
    path = Path(path)
    tensors, source = read_tensors(path)
    own = without_adapters(encoder)
    if "encoder.cls" in tensors:
        state = {k.removeprefix("encoder."): v for k, v in tensors.items() if k[:8] == "encoder."}
        unused: list[str] = []
        positions = "kept"
    else:
        state, unused = _rename(tensors, str(path))
        positions = _positions(encoder, state)
    # a spatial encoder has no temporal weights; a new temporal attention outputs zero
    spatial = not any(".time." in k for k in state)
    fresh = [k for k in own if k not in state and _OF_TIME.search(k) and (spatial or k == "time")]
    missing = sorted(own.keys() - state.keys() - set(fresh))
    if missing:
        raise CheckpointError(f"load_scmbm: {path} must have {', '.join(missing[:5])}, got none.")
    kernel = {
        k.removeprefix("tokenizer."): v
        for k, v in tensors.items()
        if k.startswith("tokenizer.") and k not in _STATISTICS
    }
    shapes = {} if tokenizer is None else {k: p.shape for k, p in tokenizer.named_parameters()}
    fits = not (shapes and kernel) or {k: v.shape for k, v in kernel.items()} == shapes
    if not fits:
        got = ", ".join(f"{k} {tuple(v.shape)}" for k, v in sorted(kernel.items()))
        raise CheckpointError(
            f"load_scmbm: {path} with its tokenizer must fit the model's, got weights {got}. Use "
            "the same kernel, window and steps."
        )
    load_strict(encoder, {**encoder.state_dict(), **state}, where=str(path))
    if tokenizer is not None and kernel:
        tokenizer.load_state_dict(kernel, strict=False)
    taken = tokenizer is not None and bool(kernel)
    return Published(path.name, sha256(path), source, positions, taken, tuple(unused), tuple(fresh))


def _rename(tensors: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], list[str]]:
    heads = [k for k in tensors if k == "cls_token" or k.endswith(".cls_token")]
    if len(heads) != 1:
        raise CheckpointError(
            f"load_scmbm: {where} must hold one encoder with a cls_token, got {len(heads)}."
        )
    prefix = heads[0].removesuffix("cls_token")
    state, unused, unknown = {}, [], []
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        found = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name)
        if not key.startswith(prefix) or _UNUSED.match(name):
            unused.append(key)
        elif name == "cls_token":
            state["cls"] = value
        elif name == "pos_embed":
            state["positions"] = value
        elif name in ("norm.weight", "norm.bias"):
            state[name] = value
        elif found and found[2] in _BLOCK:
            state[f"blocks.{found[1]}.{_BLOCK[found[2]]}.{found[3]}"] = value
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(
            f"load_scmbm: {where} must be an SC-MBM encoder, got unknown {', '.join(unknown[:5])}."
        )
    return state, sorted(unused)


def _positions(encoder: SCMBM, state: dict[str, Tensor]) -> str:
    table = state.pop("positions", None)
    if encoder.config.positions == "brain":
        return "not used: patches know where they are"
    n, dim = encoder.positions.shape
    if table is None or table.ndim != 3 or table.shape[-1] != dim or table.shape[1] < 2:
        shape = None if table is None else tuple(table.shape)
        raise CheckpointError(
            f"load_scmbm: pos_embed must be (1, 1 + patches, {dim}), got {shape}. "
            "positions='brain' needs no table."
        )
    # skip the code of the cls token, which is zero in the published files
    line = table[:, 1:].float().transpose(1, 2)
    state["positions"] = F.interpolate(line, size=n, mode="linear", align_corners=True)[0].T
    return f"interpolated from {line.shape[-1]} to {n} patches"


def without_adapters(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a module without its adapters."""
    low_rank = {id(p) for m in module.modules() if isinstance(m, Adapter) for p in m.parameters()}
    skip = {k for k, p in module.named_parameters() if id(p) in low_rank}
    return {k: v for k, v in module.state_dict().items() if k not in skip}


def _tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        return {}
    for name in _NESTED:
        if isinstance(value.get(name), dict):
            return _tensors(value[name])
    return {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, Tensor)}
