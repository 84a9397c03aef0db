"""Operations and bytes of each op, from its shape alone.

The cases use the same formulas, so that an estimate and a measured share of the roofline agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError, some
from ..nn.config_io import suggest


@dataclass(frozen=True)
class Work:
    """What an op has to do at least.

    Parameters
    ----------
    flops : float
        Operations.
    traffic : float
        Bytes that must cross main memory once: inputs, weights and the result, without what an
        implementation keeps between its own steps.
    """

    flops: float
    traffic: float


def tokenize(
    tokens: float, patch_voxels: float, features: int, itemsize: int, *, backward: bool = False
) -> Work:
    """Tokens of int16 patches: a matrix product of kept patches and the weight.

    Parameters
    ----------
    tokens : float
        Kept patches of all volumes.
    patch_voxels : float
        Voxels of a patch.
    features, itemsize : int
    backward : bool
        With the gradient of the weight.
    """
    passes = 1 + backward
    moved = 2 * tokens * patch_voxels + itemsize * features * (patch_voxels + tokens)
    return Work(2.0 * tokens * patch_voxels * features * passes, float(moved * passes))


def lora(rows: int, d_in: int, d_out: int, rank: int, itemsize: int, *, step: bool = False) -> Work:
    """A frozen layer and its low-rank branch; `step` with the gradients of x, A and B."""
    flops = 2.0 * rows * (d_in * d_out + rank * (d_in + d_out)) * (1 + step)
    return Work(flops, float(itemsize * (d_in * d_out + rows * (d_in + d_out))))


def clustering(batch: int, pool: int, width: int, itemsize: int) -> Work:
    """A step of neighbourhood clustering: two products of the batch and the pool."""
    return Work(4.0 * batch * pool * width, float(itemsize * pool * width))


def moving_rows(batch: int, width: int, itemsize: int) -> Work:
    """Reading and writing the rows of a pool that a batch names."""
    return Work(4.0 * batch * width, float(2 * itemsize * batch * width))


def lookup(rows: int, codes: int, width: int, itemsize: int) -> Work:
    """The nearest of `codes` for each of `rows`."""
    moved = itemsize * (rows + codes) * width + 8 * rows
    return Work(2.0 * rows * codes * width, float(moved))


def quantiser_step(rows: int, codes: int, width: int, itemsize: int) -> Work:
    """Nearest codes, moving averages and dead codes."""
    return Work(2.0 * rows * codes * width, float(itemsize * (2 * rows + 6 * codes) * width))


def decode(parameters: int, prefix: int, new: int, itemsize: int) -> Work:
    """`new` tokens after a prefix, batch one: every weight is read for every token."""
    return Work(2.0 * parameters * (prefix + new - 1), float(parameters * itemsize * new))


def means(voxels: int, volumes: int, itemsize: int) -> Work:
    """Means of regions: every voxel of a region is read and added once."""
    return Work(float(voxels * volumes), float(itemsize * voxels * volumes))


def pca(rows: int, voxels: int, components: int, itemsize: int) -> Work:
    """Components of few rows: inner products of the rows, and a product for the components."""
    flops = float(rows * voxels * (rows + 2 * components))
    return Work(flops, float(itemsize * voxels * (rows + components)))


def read_run(voxels: int, volumes: int) -> Work:
    """Voxels of an image: int16 is read, float32 is written."""
    return Work(float(voxels * volumes), 6.0 * voxels * volumes)


@dataclass(frozen=True)
class Form:
    """How a shape is written.

    Parameters
    ----------
    pattern : str
        Regular expression with named numbers.
    example : str
    work : callable
        The numbers by name, and the bytes of an element, to :class:`Work`.
    itemsize : int or None
        Bytes of an element whatever the precision; None takes that of the precision.
    """

    pattern: str
    example: str
    work: Callable[[dict[str, int], int], Work]
    itemsize: int | None = None


def _tokenize_of(n: dict[str, int], itemsize: int) -> Work:
    # k: percent of the patches that touch the brain
    tokens = n["batch"] * (n["z"] // n["p"]) * (n["y"] // n["p"]) * (n["x"] // n["p"]) * n["kept"]
    return tokenize(tokens / 100, n["p"] ** 3, n["d"], itemsize, backward=bool(n["step"]))


_MATRIX = r"(?P<rows>\d+)x(?P<codes>\d+)x(?P<width>\d+)"
FORMS = {
    "tokenize_voxels": Form(
        r"(?P<z>\d+)x(?P<y>\d+)x(?P<x>\d+)-b(?P<batch>\d+)-p(?P<p>\d+)-d(?P<d>\d+)"
        r"-k(?P<kept>\d+)(?P<step>-step)?",
        "96x112x96-b16-p8-d768-k45",
        _tokenize_of,
    ),
    "lora_linear": Form(
        r"M(?P<m>\d+)-(?P<din>\d+)x(?P<dout>\d+)-r(?P<r>\d+)(?:-gelu)?(?P<step>-step)?",
        "M64-768x3072-r16",
        lambda n, size: lora(n["m"], n["din"], n["dout"], n["r"], size, step=bool(n["step"])),
    ),
    "neighborhood_clustering": Form(
        r"B(?P<b>\d+)-N(?P<n>\d+)-D(?P<d>\d+)(?:-dance)?",
        "B64-N21600-D256",
        lambda n, size: clustering(n["b"], n["n"], n["d"], size),
    ),
    "memory_update_": Form(
        r"B(?P<b>\d+)-N(?P<n>\d+)-D(?P<d>\d+)",
        "B64-N1000000-D256",
        lambda n, size: moving_rows(n["b"], n["d"], size),
    ),
    "vq_lookup": Form(
        _MATRIX, "4096x8192x64", lambda n, size: lookup(n["rows"], n["codes"], n["width"], size)
    ),
    "vq_step": Form(
        _MATRIX,
        "16384x8192x128",
        lambda n, size: quantiser_step(n["rows"], n["codes"], n["width"], size),
        itemsize=4,
    ),
    "decode": Form(
        r"(?P<millions>\d+)M-p(?P<prefix>\d+)-n(?P<new>\d+)",
        "135M-p96-n32",
        lambda n, size: decode(n["millions"] * 10**6, n["prefix"], n["new"], size),
    ),
    "parcel_means": Form(
        r"(?P<regions>\d+)x(?P<voxels>\d+)x(?P<volumes>\d+)",
        "424x300000x30",
        lambda n, size: means(n["voxels"], n["volumes"], size),
        itemsize=2,
    ),
    "pca": Form(
        r"(?P<rows>\d+)x(?P<voxels>\d+)x(?P<components>\d+)",
        "256x40000x64",
        lambda n, size: pca(n["rows"], n["voxels"], n["components"], size),
        itemsize=4,
    ),
}


def work_of(op: str, shape: str, itemsize: int) -> Work:
    """Operations and bytes of an op on a shape.

    Parameters
    ----------
    op, shape : str
        As cases are named, for example ``"vq_lookup"`` and ``"4096x8192x64"``.
    itemsize : int
        Bytes of a floating number.

    Raises
    ------
    InputError
        The op has no formula, or the shape is written otherwise.
    """
    form = FORMS.get(op)
    if form is None:
        raise InputError(
            f"bench estimate: op must be one of {some(sorted(FORMS), 12)}, got {op!r}."
            f"{suggest(op, FORMS)}"
        )
    found = re.fullmatch(form.pattern, shape)
    numbers = found and {
        name: int(text) if text and text.isdecimal() else int(bool(text))
        for name, text in found.groupdict().items()
    }
    if not numbers or 0 in [n for name, n in numbers.items() if name != "step"]:
        raise InputError(
            f"bench estimate: the shape of {op} must be like {form.example}, with numbers above 0, "
            f"got {shape[:80]!r}. Write it so."
        )
    return form.work(numbers, form.itemsize or itemsize)
