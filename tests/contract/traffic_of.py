"""Counts bytes and operations of every candidate in the interpreter and compares with the model.

It needs ``TRITON_INTERPRET=1`` and prints a line for each candidate: kernel, name, differences.
"""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import torch
import traffic
from counting import counted

from fastbrain.kernels import (
    launch,
    lora,
    lora_narrow,
    tables,
    voxel_tokenizer,
    voxel_tokenizer_gather,
    vq,
    vq_merge,
    vq_sums,
    vq_tiles,
)
from fastbrain.kernels.lora_shapes import row_class
from fastbrain.ops.neighborhood import triton as neighborhood

MODULES = (
    *(lora, lora_narrow, voxel_tokenizer, voxel_tokenizer_gather, vq, vq_merge, vq_sums),
    launch,
)
HALF = torch.float16


def main() -> None:
    """Print a line for each candidate of each kernel."""
    torch.manual_seed(0)
    # a GPU that the rows fill, and one whose programs divide the codes
    for multiprocessors in (1, 132):
        lookups(rows=600, count=130, width=64, multiprocessors=multiprocessors)
        lookups(rows=600, count=200, width=512, multiprocessors=multiprocessors)
        lookups(rows=600, count=1200, width=32, multiprocessors=multiprocessors)
    layers(rows=300, depth=144, columns=264, rank=8)
    layers(rows=7, depth=144, columns=264, rank=8)
    gradients(rows=300, columns=264, rank=8)
    windows(batch=3, tokens=50, patch=64, features=264)
    windows(batch=3, tokens=50, patch=512, features=96)
    for ordered in (True, False):
        sums(rows=50, count=7, width=200, ordered=ordered)
    # a row in registers, and wider; passes over the memory: similarities, and products with it
    for dance, passes in ((False, 1), (True, 2)):
        neighbourhoods(batch=36, classes=21, size=300, width=40, dance=dance, passes=passes)
        neighbourhoods(batch=36, classes=21, size=300, width=300, dance=dance, passes=3)


def each(kernel, found, call, model):
    """Count a call with every candidate."""
    for candidate in found:
        with tables.forced(kernel, candidate.name), counted(*MODULES) as counts:
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


def sums(rows, count, width, *, ordered):
    """Sums of segments of rows, all of them in some segment."""
    x, order = torch.randn(rows, width).to(HALF), torch.randperm(rows) if ordered else None
    bounds = torch.cat([torch.zeros(1), torch.randint(0, rows, (count - 1,)).sort().values])
    bounds = torch.cat([bounds, torch.tensor([rows])]).long()
    with counted(*MODULES) as counts:
        vq_sums.segment_sums(x, order, bounds[:-1].clone(), bounds[1:].clone())
    print("vq_update_sums", "ordered" if ordered else "plain", compared(counts) or "as modelled")


def neighbourhoods(batch, classes, size, width, *, dance, passes):
    """Value and gradients of clustering: every launch, and how often the memory is read."""
    rows = (torch.nn.functional.normalize(torch.randn(n, width)) for n in (batch, classes, size))
    features, prototypes, memory = rows
    memory = memory.to(HALF)
    at = {"dual": width <= 256, "exact": False}
    for candidate in neighborhood_candidates(memory, **at):
        with (
            tables.forced("neighborhood_sweep", candidate.name, sweep_class(memory, **at)),
            counted(*MODULES) as counts,
        ):
            constants = 0.05, 1e-5 if dance else 0.0, False, True
            indices = torch.arange(batch)
            neighborhood._entropy(features, prototypes, memory, indices, *constants)
        wrong = compared(counts)
        read = sum(
            traffic.of_launch(call).bytes["memory"] / strips(call, batch)
            for call in counts.calls
            if "memory" in call.arguments
        )
        # of the products of PyTorch nothing is counted; the last tile of a pass is filled up
        wanted = 1 if candidate.variant == "products" else passes
        if not wanted <= read / memory.nbytes < wanted + 1:
            wrong += f"; {read / memory.nbytes:.2f} passes over the memory, not {wanted}"
        if len(counts.launches) > 6:
            wrong += f"; {len(counts.launches)} launches"
        print("neighborhood_sweep", candidate.name, width, dance, wrong or "as modelled")


def neighborhood_candidates(memory, *, dual, exact):
    """What a sweep may take."""
    from fastbrain.kernels import neighborhood_tiles

    return neighborhood_tiles.candidates(memory.shape[1], dual, exact, 90, True)


def sweep_class(memory, *, dual, exact):
    """The class of shapes of a sweep, as it asks the table."""
    from fastbrain.kernels import neighborhood_tiles

    with tables.asked() as log:
        neighborhood_tiles.taken(memory, dual=dual, exact=exact, scored=True)
    return log[0].shape


def strips(call, batch):
    """How many groups of samples read the memory each for itself."""
    rows = call.arguments.get("rows", batch)
    return traffic.ceil(rows, call.options["BB"])


def compared(counts):
    """Differences between what was counted and the models of the launches."""
    expected, flops = {}, Counter()
    for call in counts.calls:
        model = traffic.of_launch(call)
        if model is not None:
            expected.setdefault(call.kernel, Counter()).update(model.bytes)
            flops[call.kernel] += model.flops
    wrong = [
        f"{kernel}.{operand}: {counts.bytes[kernel][operand]} bytes, not {wanted}"
        for kernel, operands in expected.items()
        for operand, wanted in operands.items()
        if counts.bytes[kernel][operand] != wanted
    ]
    wrong += [
        f"{kernel}: {counts.flops[kernel]} operations, not {wanted}"
        for kernel, wanted in flops.items()
        if wanted and counts.flops[kernel] != wanted
    ]
    return "; ".join(wrong)


def lookups(rows, count, width, *, multiprocessors):
    """Nearest codes."""
    x, codes, weights = torch.randn(rows, width), torch.randn(count, width), torch.rand(count)
    x, codes = x.to(HALF), codes.to(HALF)

    def model(candidate):
        tile = candidate.tile
        blocks, tiles = traffic.ceil(rows, tile["BM"]), traffic.ceil(count, tile["BN"])
        span = vq_tiles.span_of(blocks, tiles, multiprocessors)
        assert (span is None) == (multiprocessors == 1)
        sizes = {"rows": rows, "count": count, "width": width, "size": 2}
        sizes |= {"span": (span or tiles) * tile["BN"], "shared": span is not None}
        expected = {"vq_lookup_fwd_kernel": traffic.vq_lookup(tile, **sizes)}
        if span is not None:
            shares = traffic.ceil(tiles, span)
            expected["vq_lookup_merge_kernel"] = traffic.vq_merge(rows=rows, shares=shares)
        return expected

    with patch.object(tables, "multiprocessors", lambda _: multiprocessors):
        each(
            "vq_lookup",
            vq_tiles.candidates(HALF, width),
            lambda: vq.nearest(x, codes, weights, None, cosine=False, exact=True),
            model,
        )


def layers(rows, depth, columns, rank):
    """Adapted layers."""
    left, right = torch.randn(rows, depth).to(HALF), torch.randn(columns, depth).to(HALF)
    low, up = torch.randn(rows, rank).to(HALF), torch.randn(columns, rank).to(HALF)
    bias = torch.randn(columns).to(HALF)

    def model(candidate):
        if candidate.variant not in ("wide", "persistent", "ring"):
            return {}
        persistent = candidate.variant == "persistent"
        sizes = {"rows": rows, "columns": columns, "depth": depth, "rank": rank, "size": 2}
        expected = traffic.lora_wide(candidate.tile, **sizes, described=persistent)
        # the interpreter's answer is float32
        expected.bytes["out"] *= 2
        return {f"lora_linear_{candidate.variant}_kernel": expected}

    each(
        "lora_wide",
        lora.candidates(HALF, row_class(rows), rank, 90, True),
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

    def backward(candidate):
        if candidate.variant == "gathered":
            return model(candidate)
        expected = traffic.tokenize_backward(candidate.tile, **tensors)
        return {"tokenize_voxels_bwd_kernel": expected}

    each(
        "tokenize_voxels",
        voxel_tokenizer.candidates(HALF, patch, 1, True),
        lambda: voxel_tokenizer.forward(*stored, exact=True),
        model,
    )
    each(
        "tokenize_voxels_backward",
        voxel_tokenizer.backward_candidates(HALF, patch),
        lambda: voxel_tokenizer.backward(grad, volumes, offsets, mean, inv_std, 0.5, exact=True),
        backward,
    )


if __name__ == "__main__":
    main()
