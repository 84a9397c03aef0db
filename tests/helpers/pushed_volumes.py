"""Push volumes of a prepared scan through a pipeline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastbrain.realtime.preprocess import PreprocessSettings

STILL = PreprocessSettings(motion="none")


def whole(prepared):
    return PreprocessSettings(
        statistics="run so far", n_volumes=len(prepared.volumes), motion="none"
    )


def pushed(pipeline, volumes):
    return [pipeline.push(volume) for volume in volumes]


def with_data(volume, data, **changes):
    return replace(volume, data=data, **changes)


def held_bytes(value, seen=None):
    """Bytes of the arrays and tensors that an object holds."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if hasattr(value, "untyped_storage"):
        return value.untyped_storage().nbytes()
    if isinstance(value, (list, tuple)):
        return sum(held_bytes(v, seen) for v in value)
    if isinstance(value, dict):
        return sum(held_bytes(v, seen) for v in value.values())
    return held_bytes(vars(value), seen) if hasattr(value, "__dict__") else 0
