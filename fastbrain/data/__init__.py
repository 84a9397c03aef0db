"""From scans to windows: checked volumes, cohorts, leak-proof splits, the voxel store.

Names are imported on first use; only :class:`WindowLoader` brings torch.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> module that defines it
_NAMES = {
    "Annotator": "annotation",
    "AnnotatorCard": "annotation",
    "ArrayRows": "rows",
    "Audit": "audit",
    "AuditRecord": "leaks",
    "Autoregression": "series",
    "Batch": "loader",
    "Captions": "annotators",
    "ClassNames": "annotators",
    "CohortDesign": "simulate",
    "DATASETS": "datasets",
    "Finding": "checks",
    "DriftFilter": "highpass",
    "FitScope": "fits",
    "KnownDataset": "datasets.known",
    "Label": "datasets.known",
    "Leak": "leaks",
    "PCA": "pca",
    "Parcellation": "parcels",
    "Request": "annotation",
    "RestCohort": "rest",
    "RestDesign": "rest",
    "RestingStudy": "resting",
    "RunDesign": "design",
    "RunRecord": "cohort",
    "STORY_DATASETS": "datasets.stories",
    "SeriesScaler": "series",
    "Split": "splits",
    "StorePlan": "plan",
    "StoreRows": "rows",
    "StoryDataset": "datasets.stories",
    "StorySample": "words",
    "Study": "study",
    "Surrogate": "annotation",
    "Trial": "events",
    "Volumes": "volumes",
    "VoxelRows": "rows",
    "VoxelStore": "store",
    "WindowLoader": "loader",
    "WindowSpec": "events",
    "Word": "words",
    "absent_images": "announced",
    "annotate": "annotation",
    "announced_runs": "announced",
    "audit_records": "audit",
    "audit_store": "store_audit",
    "audit_trials": "store_audit",
    "captions_from_tsv": "annotators",
    "choose_filter": "choose_highpass",
    "compute_mask": "masks",
    "fit_pca": "pca",
    "intersect_masks": "masks",
    "known_dataset": "datasets",
    "lagged_windows": "lags",
    "lanczos_downsample": "lanczos",
    "load_volumes": "volumes",
    "parcel_series": "parcels",
    "plan_store": "plan",
    "plan_study": "study_plan",
    "prepare_store": "prepare",
    "read_mask": "masks",
    "read_parcellation": "parcels",
    "read_resting": "resting",
    "read_runs_table": "cohort",
    "read_trials": "events",
    "read_words": "words",
    "removed_shares": "choose_highpass",
    "resample_series": "series",
    "resting_study": "resting",
    "run_design": "design",
    "run_designs": "design",
    "runs_from_bids": "bids",
    "scan_digests": "scans",
    "simulate_cohort": "simulate",
    "simulate_rest": "rest",
    "split_by": "grouping",
    "split_folds": "folds",
    "split_leave_one_out": "folds",
    "split_subject_folds": "folds",
    "split_unseen": "unseen",
    "story_dataset": "datasets.stories",
    "story_onsets": "datasets.stories",
    "story_samples": "words",
    "write_resting": "resting",
    "write_runs_table": "cohort",
    "write_store": "prepare",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'fastbrain.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
