"""Decode fMRI recordings to text.

Names are imported on first use, so ``import fastbrain`` does not import torch. A script that runs a
long job on a shared machine should call ``fastbrain.share_cores()`` before torch is imported; the
``fastbrain`` commands call it themselves.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# public name -> module that defines it
_NAMES = {
    "FastbrainError": "errors",
    "share_cores": "_threads",
    "TokenGrid": "grid",
    "TokenLayout": "layout",
    "backend": "ops",
    "explain": "ops",
    "tokenize_voxels": "ops",
    "lora_linear": "ops",
    "lora_attention": "ops",
    "neighborhood_clustering": "ops",
    "memory_update_": "ops",
    "entropy_separation": "ops",
    "PackedCodebook": "ops",
    "VQState": "ops",
    "pack_codebook": "ops",
    "vq_init": "ops",
    "vq_lookup": "ops",
    "vq_replace_dead_": "ops",
    "vq_update_": "ops",
    "load_volumes": "data",
    "read_runs_table": "data",
    "prepare_store": "data",
    "VoxelStore": "data",
    "WindowLoader": "data",
    "Split": "data",
    "simulate_cohort": "data",
    "CohortDesign": "data",
    "WindowSpec": "data",
    "plan_store": "data",
    "runs_from_bids": "data",
    "split_by": "data",
    "split_folds": "data",
    "split_leave_one_out": "data",
    "split_unseen": "data",
    "Audit": "data",
    "AuditRecord": "data",
    "FitScope": "data",
    "audit_records": "data",
    "audit_store": "data",
    "scan_digests": "data",
    "LLM4Brain": "llm4brain",
    "LLM4BrainConfig": "llm4brain",
    "load_llm": "lm",
    "warmup": "llm4brain",
    "from_pretrained": "llm4brain",
    "save_pretrained": "llm4brain",
    "push_to_hub": "llm4brain",
    "RunConfig": "llm4brain.training",
    "train_llm4brain": "llm4brain.training",
    "adapt": "llm4brain.training",
    "Sampling": "decoding",
    "Decoding": "inference",
    "decode": "inference",
    "pipeline": "inference",
    "decode_windows": "llm4brain",
    "generate": "decoding",
    "evaluate_model": "llm4brain",
    "evaluate_run": "llm4brain",
    "open_run": "llm4brain",
    "accelerate_peft": "integrations.peft",
}

__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name == "_native":  # only until the first import of it
        return _compiled()
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'fastbrain' has no attribute {name!r}")


def _compiled() -> Any:
    try:
        return importlib.import_module("._native", __name__)
    except ImportError as error:
        from .errors import MissingPartError

        raise MissingPartError(
            f"fastbrain: the compiled part fastbrain._native must be in {__path__[0]} or installed "
            f"with it, got '{error}'. Where fastbrain is installed in another place, run from "
            "another folder than this source; otherwise build it: make setup."
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
