"""Facts about a store for one page."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..._arguments import checked
from .store import VoxelStore


@checked
def store_facts(store: VoxelStore) -> dict[str, dict[str, Any]]:
    """Collect what a store holds and how it was made, as JSON values.

    Parameters
    ----------
    store : VoxelStore

    Returns
    -------
    dict
        Sections ``store``, ``recordings``, ``windows``, ``voxels``, ``preparation`` and
        ``quality``.

    Raises
    ------
    InputError
        `store` is not a store.
    """
    info, split, grid = store.info, store.split, store.grid
    runs = info.runs
    volumes = sum(facts["n_volumes"] for facts in runs.values())
    size = volumes * grid.n_tokens * grid.patch_voxels
    texts = [trial.text for trial in store.trials]
    stored = size * np.dtype(info.dtype).itemsize
    snr = sorted(facts["snr_db"] for facts in runs.values() if "snr_db" in facts)
    correlations = [facts["image_correlation"] for facts in runs.values()]
    return {
        "store": {
            "path": str(store.path),
            "fingerprint": store.fingerprint(),
            "layout": info.layout_version,
            "fastbrain": info.fastbrain,
            "bytes": stored,
            "cohort": store.cohort,
        },
        "recordings": {
            "runs": len(runs),
            "subjects": len({trial.subject for trial in store.trials}),
            "sessions": len({(t.subject, t.session) for t in store.trials}),
            "volumes": volumes,
            "tr_s": info.tr,
            "hours": round(volumes * info.tr / 3600, 3),
        },
        "windows": {
            "trials": len(store.trials),
            "volumes": store.window_spec.window_trs,
            "delay_s": store.window_spec.delay_s,
            "onset_offset_s": store.window_spec.onset_offset_s,
            "train": len(split.train),
            "val": len(split.val),
            "test": len(split.test),
            "guard_volumes": split.guard_trs,
            "closed_set": split.closed_set,
            "texts": len(set(texts)),
            "most_frequent_text": Counter(texts).most_common(1)[0][1] if texts else 0,
        },
        "voxels": {
            "shape_zyx": list(grid.shape),
            "kernel_zyx": list(grid.kernel),
            "stride_zyx": list(grid.stride),
            "brain": int(grid.mask.sum()),
            "tokens": grid.n_tokens,
            "per_token": grid.patch_voxels,
            "dtype": info.dtype,
            "units": info.units,
            "scale": info.scale,
        },
        "preparation": {
            "space": info.space,
            "resolution": info.resolution,
            "high_pass_s": info.high_pass_s,
            "smoothing_mm": info.smoothing_mm,
            "resampled_to": info.resampled,
            "beta_divisor": info.beta_divisor,
            "fitted_runs": len(info.fit["runs"]),
            "fitted_volumes": info.fit["n_volumes"],
        },
        "quality": {
            "clipped": sum(facts["clipped"] for facts in runs.values()),
            "clipped_share": sum(facts["clipped"] for facts in runs.values()) / max(1, size),
            "most_dead_voxels": max((f["dead_voxels"] for f in runs.values()), default=0),
            "least_image_correlation": min(correlations, default=None),
            "least_snr_db": snr[0] if snr else None,
            "notes": sum(len(facts["notes"]) for facts in runs.values()),
        },
    }
