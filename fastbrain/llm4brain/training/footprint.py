"""Shapes, parameters, memory and time of a run of LLM4Brain before anything is trained.

Parameters are counted on models of one and two blocks, and of the language model on its
configuration. Memory and time are estimates: time comes from a short matrix product on the machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import nn

from ..._arguments import checked
from ...data import StoreCollection, VoxelStore
from ...data.store.members import members_of
from ...errors import ConfigError
from ...lm.description import ModelSize, model_size
from ..config import LLM4BrainConfig
from ..encoder import MaskedAutoencoder
from ..grid_encoders import GridLayout
from ..grid_models import PER_TOKEN
from ..model import LLM4Brain
from .presets import STAGE_NAMES
from .readout_plan import plan_readout
from .run_config import RunConfig
from .run_stages import sizes_for

# tokens of the question and of the answer beside the prefix; activations of a block in widths
_TEXT_TOKENS, _KEPT = 64, 16
_SMALL_LM = ModelSize(0, 64, 2)  # trained on the texts: a few hundred thousand parameters


@dataclass(frozen=True)
class Footprint:
    """What a run needs, returned by :func:`footprint`.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Shape of every part for one window.
    parameters : dict of str to int
        Parameters of each group that has any.
    trained : dict of str to tuple of str
        Stages in which a group trains.
    weights_bytes : int
        Weights of all parts, and gradients and moments of the largest stage: a lower bound.
    memory_bytes : int
        With activations of a batch, targets and the fit of the readout: an estimate.
    flops : float
        Of all stages.
    readout : str
        How the readout is fitted; "" without one.
    """

    shapes: dict[str, tuple[int, ...]]
    parameters: dict[str, int]
    trained: dict[str, tuple[str, ...]]
    weights_bytes: int
    memory_bytes: int
    flops: float
    readout: str

    def lines(self, flops_per_s: float) -> list[str]:
        """Describe the run in lines of text, for a machine of a measured speed."""
        found = [
            "shapes       "
            + " -> ".join(f"{name} {' x '.join(map(str, s))}" for name, s in self.shapes.items())
        ]
        for name, count in self.parameters.items():
            stages = ", ".join(self.trained.get(name, ())) or "frozen"
            found.append(f"  {name:<19}{count:>15,} parameters  {stages}")
        if self.readout:
            found.append(f"readout      {self.readout}")
        hours = self.flops / flops_per_s / 3600
        time = f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
        found.append(
            f"memory       about {self.memory_bytes / 1e9:.1f} GB, of which weights, gradients and "
            f"optimiser {self.weights_bytes / 1e9:.1f} GB (estimate)"
        )
        found.append(
            f"time         about {time} of arithmetic for all epochs, {self.flops:.2g} FLOP at "
            f"{flops_per_s / 1e9:.0f} GFLOP/s measured now (estimate)"
        )
        return found


@checked
def footprint(
    store: VoxelStore | StoreCollection, config: RunConfig, *, device: str = "cpu"
) -> Footprint:
    """Count shapes, parameters, memory and arithmetic of a run; no large model is built.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
        Of a collection, shapes and arithmetic are those of the grid with the most tokens.
    config : RunConfig
        With a stimulus (:func:`.stimuli.with_stimulus`).
    device : str
        The language model is float32 on the CPU and bfloat16 on a GPU.

    Returns
    -------
    Footprint

    Raises
    ------
    InputError
        The language model cannot be found or is of an unknown kind.
    ConfigError
        The readout cannot be fitted in its memory.
    """
    language = _SMALL_LM if config.llm is None else model_size(config.llm, function="train")
    seen = config.vision_model
    vision = model_size(seen, kind="AutoModel", function="train") if seen else None
    sizes = sizes_for(store, config)
    member = max(members_of(store).values(), key=lambda each: each.grid.n_tokens)
    model = _built(member, _of_depth(sizes, 1), language, vision)
    two = _built(member, _of_depth(sizes, 2), language, vision)
    counts = _counts(model, two, sizes.encoder.depth)
    counted = {GridLayout.of(member).fingerprint()}
    for other in members_of(store).values():
        if (kind := GridLayout.of(other).fingerprint()) not in counted:
            counts = _with_grid(counts, _built(other, _of_depth(sizes, 1), language, vision))
            counted.add(kind)
    decoder = counts.pop("decoder")
    tokens = model.bridge.n_tokens
    n, latents = len(store.split.train), sizes.qformer
    context = sizes.bridge_tokens or tokens
    shapes = {
        "voxels": (sizes.frames, member.grid.n_tokens, member.grid.patch_voxels),
        "tokens": (sizes.encoder.steps * model.tokenizer.n_tokens, sizes.encoder.dim),
        "encoder": (tokens, sizes.encoder.dim),
        "context": (context, model.bridge.out_dim),
        "latents": (latents.n_queries, latents.dim),
        "prefix": (latents.n_queries, language.width),
    }
    stages = {name: stage for name in STAGE_NAMES if (stage := getattr(config, name)) is not None}
    trained = {g: tuple(s for s in stages if g in stages[s].groups) for g in counts}
    dim, depth, hidden = sizes.encoder.dim, sizes.encoder.depth, sizes.encoder.mask_ratio
    encode = 2 * counts["encoder"] * tokens + 4.0 * depth * tokens**2 * dim
    query = 2 * counts["qformer"] * (latents.n_queries + context / 2)
    read = 2 * language.parameters * (latents.n_queries + _TEXT_TOKENS)
    tokenize = 2 * counts["tokenizer"] * member.grid.n_tokens * sizes.encoder.steps
    part = {
        "pretrain": 3 * (tokenize + (1 - hidden) * encode + 2 * decoder * tokens),
        "video": 3 * query + 2 * read,
        "calibrate": 2 * read,
        "stage1": 3 * (tokenize + encode + query),
        "stage2": 3 * (tokenize + encode + query) + 2 * read,
    }
    flops = sum(part[name] * n * stage.epochs for name, stage in stages.items())
    learning = max(
        (sum(counts.get(g, 0) for g in stage.groups) for stage in stages.values()), default=0
    )
    wide = 2 if device.startswith("cuda") else 4
    weights = 4 * (sum(counts.values()) + decoder) + wide * language.parameters + 12 * learning
    batch = max((stage.batch_size for stage in stages.values()), default=1)
    kept = 4 * tokens * dim * depth
    kept += wide * (latents.n_queries + _TEXT_TOKENS) * language.width * language.depth
    shared = config.stimulus == "text"
    outputs = latents.dim * (1 if shared else latents.n_queries)
    targets = 4 * (n + len(store.split.val)) * outputs
    readout, fitting = "", 0
    if sizes.readout_rank:
        predictions = config.calibrate is not None
        features = shapes["tokens"][0] * dim
        plan = plan_readout(
            n, features, outputs, memory_gb=config.readout_memory_gb, predictions=predictions
        )
        readout, fitting = plan.describe(), plan.bytes
    if "pretrain" in stages:
        counts["decoder"], trained["decoder"] = decoder, ("pretrain",)
    if vision is not None:
        counts["vision"] = vision.parameters
    counts["llm"] = language.parameters
    return Footprint(
        shapes,
        {name: count for name, count in counts.items() if count},
        trained,
        weights,
        weights + targets + max(batch * _KEPT * kept, fitting),
        flops,
        readout,
    )


@checked
def check_memory(found: Footprint, *, device: str = "cpu") -> None:
    """Raise :class:`ConfigError` if the weights alone exceed the memory of the device."""
    if device.startswith("cuda"):
        has = torch.cuda.mem_get_info(torch.device(device))[1]
    else:
        has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if found.weights_bytes > has:
        raise ConfigError(
            f"train: '{device}' must have {found.weights_bytes / 1e9:.0f} GB or more for weights, "
            f"gradients and optimiser, got {has / 1e9:.0f} GB. Use --device cuda on a GPU with "
            "that memory, a smaller --llm, or --preset paper-small."
        )


@checked
def measured_flops(device: str = "cpu", *, seconds: float = 0.3) -> float:
    """Measure float32 matrix products of 1024 x 1024 on a device, FLOP/s."""
    matrix = torch.randn(1024, 1024, device=device)
    matrix @ matrix
    done, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        matrix @ matrix
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        done += 1
    return done * 2 * 1024**3 / (perf_counter() - start)


class _Embedding(nn.Module):
    """Stands for a language model, of which only the width of its embeddings is read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(1, width)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table


class _Frames(nn.Module):
    """Stands for a frame encoder, of which only the width is read."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


def _of_depth(sizes: LLM4BrainConfig, depth: int) -> LLM4BrainConfig:
    return replace(sizes, encoder=replace(sizes.encoder, depth=depth))


def _built(
    store: VoxelStore, sizes: LLM4BrainConfig, language: ModelSize, vision: ModelSize | None
) -> LLM4Brain:
    layout = GridLayout.of(store)
    return LLM4Brain(
        sizes,
        grid=layout.grid,
        centers_mm=layout.centers_mm,
        llm=_Embedding(language.width),
        video=None if vision is None else _Frames(vision.width),
    )


def _with_grid(counts: dict[str, int], other: LLM4Brain) -> dict[str, int]:
    """Add the parameters that another grid has of its own."""
    groups = other.parameter_groups()
    own = {
        name: sum(p.numel() for n, p in group if n.startswith(PER_TOKEN))
        for name, group in groups.items()
    }
    return {name: n + own.get(name, 0) for name, n in counts.items()}


def _counts(one: LLM4Brain, two: LLM4Brain, depth: int) -> dict[str, int]:
    """Parameters by group of an encoder of `depth` blocks, from models with one and with two."""
    first, second = (
        {name: sum(p.numel() for _, p in group) for name, group in model.parameter_groups().items()}
        for model in (one, two)
    )
    whole = {name: n + (depth - 1) * (second[name] - n) for name, n in first.items()}
    masked = MaskedAutoencoder(one.tokenizer, one.encoder, one.centers_mm)
    own = {id(p) for p in one.parameters()}
    whole["decoder"] = sum(p.numel() for p in masked.parameters() if id(p) not in own)
    return {name: n for name, n in whole.items() if name not in ("llm", "vision")}
