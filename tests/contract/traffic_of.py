"""Counts bytes and operations of every candidate in the interpreter and compares with the model.

It needs ``TRITON_INTERPRET=1`` and prints a line for each candidate: kernel, name, differences.
"""

from __future__ import annotations

import torch
import traffic

from fastbrain.kernels import (
    lora,
    lora_narrow,
    tables,
    voxel_tokenizer,
    voxel_tokenizer_gather,
    vq,
)

MODULES = lora, lora_narrow, voxel_tokenizer, voxel_tokenizer_gather, vq
HALF = torch.float16


def main() -> None:
    """Print a line for each candidate of each kernel."""
    torch.manual_seed(0)
    lookups(rows=300, count=130, width=64)
    lookups(rows=70, count=200, width=512)
    layers(rows=300, depth=144, columns=264, rank=8)
    layers(rows=7, depth=144, columns=264, rank=8)
    gradients(rows=300, columns=264, rank=8)
    windows(batch=3, tokens=50, patch=64, features=264)
    windows(batch=3, tokens=50, patch=512, features=96)


def each(kernel, found, call, model):
    """Count a call with every candidate."""
    for candidate in found:
        with tables.forced(kernel, candidate.name), traffic.counted(*MODULES) as counts:
            call()
        expected = model(candidate)
        wrong = []
        for name, wanted in expected.items():
            got = counts.bytes.get(name, {})
            wrong += [
                f"{name}.{operand}: {got.get(operand, 0)} bytes, not {wanted.bytes.get(operand, 0)}"
                for operand in {*got, *wanted.bytes}
                if got.get(operand, 0) != wanted.bytes.get(operand, 0)
            ]
            if counts.flops[name] != wanted.flops:
                wrong.append(f"{name}: {counts.flops[name]} operations, not {wanted.flops}")
        if sorted(set(counts.launches)) != sorted(expected):
            wrong.append(f"launches {counts.launches}")
        print(kernel, candidate.name, "; ".join(wrong) or "as modelled")


def lookups(rows, count, width):
    """Nearest codes."""
    x, codes, weights = torch.randn(rows, width), torch.randn(count, width), torch.rand(count)
    x, codes = x.to(HALF), codes.to(HALF)

    def model(candidate):
        sizes = {"rows": rows, "count": count, "width": width, "size": 2}
        return {"vq_lookup_fwd_kernel": traffic.vq_lookup(candidate.tile, **sizes)}

    each(
        "vq_lookup",
        vq.candidates(HALF, width),
        lambda: vq.nearest(x, codes, weights, None, cosine=False, exact=True),
        model,
    )


def layers(rows, depth, columns, rank):
    """Adapted layers."""
    left, right = torch.randn(rows, depth).to(HALF), torch.randn(columns, depth).to(HALF)
    low, up = torch.randn(rows, rank).to(HALF), torch.randn(columns, rank).to(HALF)
    bias = torch.randn(columns).to(HALF)

    def model(candidate):
        if candidate.variant not in ("wide", "persistent"):
            return {}
        persistent = candidate.variant == "persistent"
        sizes = {"rows": rows, "columns": columns, "depth": depth, "rank": rank, "size": 2}
        expected = traffic.lora_wide(candidate.tile, **sizes, described=persistent)
        # the interpreter's answer is float32
        expected.bytes["out"] *= 2
        return {f"lora_linear_{candidate.variant}_kernel": expected}

    each(
        "lora_wide",
        lora.candidates(HALF, lora.row_class(rows), rank, 90, True),
        lambda: lora.wide(left, right, bias, low, up, 0.5, "gelu", by_rows=True, exact=True),
        model,
    )


def gradients(rows, columns, rank):
    """Gradients of the branch."""
    grad, low = torch.randn(rows, columns).to(HALF), torch.randn(rows, rank).to(HALF)
    up = torch.randn(columns, rank).to(HALF)

    def model(candidate):
        sizes = {"rows": rows, "columns": columns, "rank": rank, "size": 2}
        return {"lora_linear_narrow_kernel": traffic.lora_narrow(candidate.tile, **sizes)}

    each(
        "lora_narrow",
        lora_narrow.candidates(HALF, rank, False),
        lambda: lora_narrow.narrow(grad, low, up, 0.5, "gelu", exact=True),
        model,
    )


def windows(batch, tokens, patch, features):
    """Tokens and the gradient of their weight."""
    volumes = torch.randint(-9, 9, (batch, 1, tokens, patch), dtype=torch.int16)
    edge = round(patch ** (1 / 3))
    weight = torch.randn(features, 1, edge, edge, edge).to(HALF)
    offsets = torch.arange(tokens * patch, dtype=torch.int32).view(tokens, patch)
    mean, inv_std = torch.randn(tokens, patch), torch.rand(tokens, patch)
    stored = volumes, weight, torch.zeros(features, dtype=HALF), offsets, mean, inv_std, 0.5
    grad = torch.randn(batch, tokens, features).to(HALF)
    sizes = {"samples": batch * tokens, "patch": patch}
    tensors = {**sizes, "features": features, "size": 2}

    def model(candidate):
        if candidate.variant == "gathered":
            # the interpreter's buffer is float32
            expected = traffic.tokenize_gather(candidate.tile, **sizes, size=4)
            return {"tokenize_voxels_gather_kernel": expected}
        resident = candidate.variant == "resident"
        name = "resident" if resident else "fwd"
        expected = traffic.tokenize(candidate.tile, **tensors, resident=resident)
        return {f"tokenize_voxels_{name}_kernel": expected}

    each(
        "tokenize_voxels",
        voxel_tokenizer.candidates(HALF, patch, 1, True),
        lambda: voxel_tokenizer.forward(*stored, exact=True),
        model,
    )
    each(
        "tokenize_voxels_backward",
        voxel_tokenizer.backward_candidates(HALF),
        lambda: voxel_tokenizer.backward(grad, volumes, offsets, mean, inv_std, 0.5, exact=True),
        lambda candidate: {
            "tokenize_voxels_bwd_kernel": traffic.tokenize_backward(candidate.tile, **tensors)
        },
    )


if __name__ == "__main__":
    main()
