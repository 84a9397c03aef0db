"""Load Q-Former weights of BLIP-2, InstructBLIP, LAVIS and Video-LLaMA from safetensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .._arguments import checked
from .._io import sha256
from ..errors import CheckpointError
from ..nn.state_dict import load_strict
from .model import LLM4Brain
from .published_weights import Published, read_tensors, without_adapters
from .qformer import QFormer

_FIRST = re.compile(r"encoder\.layer\.0\.attention\.(attention|self)\.query\.weight$")
_NORM = ("layernorm", "embeddings.layernorm", "embeddings.LayerNorm")
_QUERIES = ("query_tokens", "video_query_tokens")
# projection from Q-Former to language model in Video-LLaMA, MiniGPT-4, transformers, LAVIS
_PROJECTIONS = re.compile(r"(^|\.)(llama|language|llm|opt|t5)_proj(ection)?\.(weight|bias)$")
_PLACES = re.compile(r"(^|\.)video_frame_position_embedding\.weight$")
# published name -> our name, inside a block; concatenated tensors are in _JOINED
_BLOCK = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "norm_attention",
    "crossattention.output.dense": "cross.out",
    "crossattention.output.LayerNorm": "norm_cross",
    "crossattention.attention.query": "cross.q",
    "intermediate_query.dense": "mlp.up",
    "output_query.dense": "mlp.down",
    "output_query.LayerNorm": "norm_mlp",
}
_JOINED = {
    "attention.qkv": [f"attention.attention.{n}" for n in ("query", "key", "value")],
    "cross.kv": [f"crossattention.attention.{n}" for n in ("key", "value")],
}


@checked
def load_qformer(qformer: QFormer, path: str | Path, *, prefix: str | None = None) -> Published:
    """Load a published Q-Former without its text layers.

    Parameters
    ----------
    qformer : QFormer
        Built with ``bert=True`` and with the depth, width and ``cross_every`` of the file.
    path : str or Path
        Safetensors file of the Q-Former or of a whole model; see :func:`convert_pickle`.
    prefix : str, optional
        Prefix of the tensor names ("qformer.", "video_Qformer.bert."), required if the file has
        several Q-Formers.

    Returns
    -------
    Published
        `fresh` contains "queries" if the file has no query tokens.

    Raises
    ------
    CheckpointError
        A tensor is missing or has another shape, or the file has no or several Q-Formers.
    """
    path = Path(path)
    if not qformer.config.bert:
        raise CheckpointError(
            "load_qformer: qformer must have the layout of BERT, got bert=False. Build it with "
            "QFormerConfig(bert=True)."
        )
    tensors, source = read_tensors(path)
    found = [k[: m.start()] for k in tensors if (m := _FIRST.search(k))]
    found = [p for p in found if prefix in (None, p)]
    if len(found) != 1:
        raise CheckpointError(
            f"load_qformer: {path} must hold one Q-Former, got {found}. Name it by prefix=."
        )
    own = {
        # LAVIS uses the name self, transformers attention
        re.sub(r"attention\.self\.", "attention.attention.", k.removeprefix(found[0])): v
        for k, v in tensors.items()
        if k.startswith(found[0])
    }
    state, used = _state(own, len(qformer.blocks), str(path))
    owner = found[0].rstrip(".").removesuffix(".bert").rpartition(".")[0]
    names = [f"{owner}.{q}" if owner else q for q in _QUERIES]
    # a video Q-Former uses the query tokens with video in their name, if present
    names = names[::-1] if "video" in found[0] else names
    queries = next((name for name in names if name in tensors), None)
    if queries is not None:
        state["queries"] = tensors[queries].squeeze(0)
    mine = without_adapters(qformer)
    missing = sorted(mine.keys() - state.keys() - {"queries"})
    if missing:
        raise CheckpointError(f"load_qformer: {path} must have {', '.join(missing[:5])}, got none.")
    load_strict(qformer, {**qformer.state_dict(), **state}, where=str(path))
    unused = sorted(k for k in own if k not in used and found[0] + k != queries)
    fresh = () if queries else ("queries",)
    return Published(path.name, sha256(path), source, "", False, tuple(unused), fresh)


@checked
@torch.no_grad()
def load_video_branch(
    model: LLM4Brain, path: str | Path, *, prefix: str | None = None
) -> Published:
    """Load a published Q-Former, its projection and frame positions (Video-LLaMA, BLIP-2).

    The projection to the language model and the frame position embedding of Video-LLaMA are loaded
    if the file has them in the shape of the model. The frame encoder must be the vision model that
    the Q-Former was trained with (:func:`load_vision_model`; for Video-LLaMA that of BLIP-2).

    Parameters
    ----------
    model : LLM4Brain
        Its Q-Former must meet the requirements of :func:`load_qformer`.
    path : str or Path
    prefix : str, optional
        As in :func:`load_qformer`.

    Returns
    -------
    Published
        `fresh` lists the parts that were not loaded, because they are missing in the file or have
        another shape: "queries", "projection", "frame_place".

    Raises
    ------
    CheckpointError
        As in :func:`load_qformer`, or the file has several projections.
    """
    loaded = load_qformer(model.qformer, path, prefix=prefix)
    tensors, _ = read_tensors(path)
    fresh = list(loaded.fresh)
    found = {m[4]: k for k in tensors if (m := _PROJECTIONS.search(k))}
    many = {k.rpartition(".")[0] for k in tensors if _PROJECTIONS.search(k)}
    if len(many) > 1:
        raise CheckpointError(f"load_video_branch: {path} must hold one projection, got {many}.")
    own = dict(model.projection.named_parameters())
    if all(k in found and tensors[found[k]].shape == p.shape for k, p in own.items()):
        for k, p in own.items():
            p.copy_(tensors[found[k]])
    else:
        fresh.append("projection")
    place = model.frame_place
    if place is not None:
        rows = next((v for k, v in tensors.items() if _PLACES.search(k)), None)
        if rows is not None and len(rows) >= len(place) and rows.shape[1] == place.shape[2]:
            place.copy_(rows[: len(place), None])
        else:
            fresh.append("frame_place")
    return replace(loaded, fresh=tuple(fresh))


def _state(own: Mapping[str, Tensor], depth: int, where: str) -> tuple[dict[str, Tensor], set[str]]:
    """Rename the tensors of the query path; return them and the published names used."""
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    layers = {int(m[1]) for k in own if (m := re.match(r"encoder\.layer\.(\d+)\.", k))}
    if layers != set(range(depth)):
        raise CheckpointError(
            f"load_qformer: {where} must have the Q-Former's {depth} layers, got {len(layers)}."
        )
    for kind in ("weight", "bias"):
        for name in _NORM:
            if f"{name}.{kind}" in own:
                state[f"norm.{kind}"] = own[f"{name}.{kind}"]
                used.add(f"{name}.{kind}")
        for i in range(depth):
            there = f"encoder.layer.{i}."
            for theirs, ours in _BLOCK.items():
                key = f"{there}{theirs}.{kind}"
                if key in own:
                    state[f"blocks.{i}.{ours}.{kind}"] = own[key]
                    used.add(key)
            for ours, parts in _JOINED.items():
                keys = [f"{there}{part}.{kind}" for part in parts]
                if all(key in own for key in keys):
                    state[f"blocks.{i}.{ours}.{kind}"] = torch.cat([own[key] for key in keys])
                    used.update(keys)
    return state, used
