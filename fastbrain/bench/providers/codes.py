"""Nearest codes of other packages: faiss, vector-quantize-pytorch, flash-kmeans and cuVS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..registry import Provider, Setting, Way
from .needs import first, missing, needs_gpu


def _precision(*allowed: torch.dtype) -> Callable[[Setting], str | None]:
    names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
    return lambda setting: None if setting.dtype in allowed else f"computes in {names} only"


_float32 = _precision(torch.float32)


def _faiss_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    device = "faiss-cpu searches on the CPU" if setting.on_gpu else None
    return first(device, _float32(setting), missing("faiss", "faiss-cpu"))


def _faiss(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """Exact search of faiss."""
    import faiss

    x, codes = inputs["x"].numpy(), inputs["codes"].numpy()
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(codes.shape[1])
    index.add(codes)
    return lambda: torch.from_numpy(index.search(x, 1)[1][:, 0])


def _lucidrains_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    package = missing("vector_quantize_pytorch", "vector-quantize-pytorch")
    return first(_float32(setting), package)


def _lucidrains(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """vector-quantize-pytorch in evaluation."""
    from vector_quantize_pytorch import VectorQuantize

    x, codes = inputs["x"], inputs["codes"]
    layer = VectorQuantize(dim=codes.shape[1], codebook_size=len(codes)).to(x.device).eval()
    layer._codebook.embed.data.copy_(codes[None])
    return torch.no_grad()(lambda: layer(x[None])[1][0])


def _lucidrains_step(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """A training step of vector-quantize-pytorch."""
    from vector_quantize_pytorch import VectorQuantize

    x, codes = inputs["x"], inputs["codes"]
    layer = VectorQuantize(
        dim=codes.shape[1],
        codebook_size=len(codes),
        decay=inputs["decay"],
        threshold_ema_dead_code=inputs["dead"],
    )
    layer = layer.to(x.device).train()
    book = layer._codebook
    book.embed.data.copy_(codes[None])
    book.embed_avg.data.copy_(codes[None])
    book.cluster_size.data.fill_(1)
    return torch.no_grad()(lambda: layer(x[None])[1][0])


def _flash_kmeans_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    return first(needs_gpu(setting), missing("flash_kmeans", "flash-kmeans"))


def _flash_kmeans(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """The assignment of flash-kmeans; squares of rows are computed once."""
    from flash_kmeans.assign_euclid_triton import euclid_assign_triton

    x, codes = inputs["x"][None], inputs["codes"][None]
    squares = x.float().square().sum(dim=-1)
    return lambda: euclid_assign_triton(x, codes, squares)[0]


def _cuvs_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    allowed = _precision(torch.float32, torch.float16)(setting)
    return first(needs_gpu(setting), allowed, missing("cuvs", "cuvs-cu13"))


def _cuvs(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """Brute force of cuVS."""
    from cuvs.neighbors import brute_force

    x, index = inputs["x"], brute_force.build(inputs["codes"], metric="sqeuclidean")
    return lambda: torch.as_tensor(brute_force.search(index, x, 1)[1], device=x.device)[:, 0]


PROVIDERS = (
    Provider("faiss_flat", "vq_lookup", _faiss, _faiss_runs),
    Provider("vector_quantize_pytorch", "vq_lookup", _lucidrains, _lucidrains_runs),
    Provider("vector_quantize_pytorch", "vq_step", _lucidrains_step, _lucidrains_runs),
    Provider("flash_kmeans", "vq_lookup", _flash_kmeans, _flash_kmeans_runs),
    Provider("cuvs_brute_force", "vq_lookup", _cuvs, _cuvs_runs),
)
