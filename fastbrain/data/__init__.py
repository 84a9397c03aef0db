"""Read scans, plan cohorts, split them without leaks, and convert them to voxel stores.

Names are imported on first use; only :class:`WindowLoader` imports PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> module that defines it
_NAMES = {
    "Annotator": "studies.annotation",
    "AnnotatorCard": "studies.annotation",
    "ArrayRows": "store.out_of_core",
    "Audit": "leaks.audit",
    "AuditRecord": "leaks.checks",
    "Autoregression": "features.series",
    "Batch": "store.loader",
    "Captions": "studies.annotators",
    "ClassNames": "studies.annotators",
    "CohortDesign": "simulate.task_cohort",
    "DATASETS": "studies.catalog",
    "Denoising": "store.denoising.strategy",
    "Finding": "readers.header_checks",
    "DriftFilter": "store.highpass",
    "Exclusion": "store.exclusion",
    "FitScope": "leaks.fit_scope",
    "KnownDataset": "studies.known",
    "Label": "studies.known",
    "Leak": "leaks.checks",
    "PCA": "features.pca",
    "Parcellation": "features.parcels",
    "Request": "studies.annotation",
    "ConnectomeStudy": "studies.connectome_study",
    "RestCohort": "simulate.resting_cohort",
    "RestDesign": "simulate.resting_cohort",
    "RestingStudy": "studies.resting_study",
    "RunDesign": "store.design",
    "RunRecord": "readers.runs_table",
    "STORY_DATASETS": "studies.stories",
    "SeriesScaler": "features.series",
    "Split": "splits.split",
    "StorePlan": "store.plan",
    "StoreRows": "store.out_of_core",
    "StoryDataset": "studies.stories",
    "StorySample": "readers.word_timings",
    "Study": "studies.study",
    "Surrogate": "studies.annotation",
    "Trial": "readers.events",
    "Volumes": "readers.volumes",
    "VoxelRows": "store.out_of_core",
    "VoxelStore": "store.store",
    "WindowLimits": "store.window_limits",
    "WindowLoader": "store.loader",
    "WindowSpec": "readers.trial_windows",
    "Word": "readers.word_timings",
    "absent_images": "studies.expected_runs",
    "annotate": "studies.annotation",
    "announced_runs": "studies.expected_runs",
    "audit_records": "leaks.audit",
    "audit_store": "leaks.store_audit",
    "audit_trials": "leaks.store_audit",
    "captions_from_tsv": "studies.annotators",
    "choose_filter": "store.choose_highpass",
    "compute_mask": "readers.masks",
    "fit_pca": "features.pca",
    "intersect_masks": "readers.masks",
    "known_dataset": "studies.catalog",
    "lagged_windows": "features.lags",
    "lanczos_downsample": "features.lanczos",
    "load_volumes": "readers.volumes",
    "parcel_series": "features.parcels",
    "plan_like": "store.planning_like",
    "plan_rest": "store.planning_rest",
    "plan_pereira": "studies.pereira",
    "plan_stories": "studies.story_plan",
    "plan_store": "store.planning",
    "plan_study": "studies.study_plan",
    "prepare_store": "store.prepare",
    "read_gentle": "readers.gentle",
    "read_mask": "readers.masks",
    "read_parcellation": "features.parcels",
    "read_connectomes": "studies.connectome_study",
    "read_resting": "studies.resting_study",
    "read_runs_table": "readers.runs_table",
    "read_trials": "readers.events",
    "read_words": "readers.word_timings",
    "removed_shares": "store.choose_highpass",
    "resample_series": "features.series",
    "resting_study": "studies.resting_study",
    "run_design": "store.design",
    "run_designs": "store.design",
    "runs_from_bids": "readers.bids",
    "scan_digests": "leaks.scan_digests",
    "simulate_cohort": "simulate.task_cohort",
    "simulate_rest": "simulate.resting_cohort",
    "split_by": "splits.by_group",
    "split_folds": "splits.folds",
    "split_leave_one_out": "splits.folds",
    "split_story_blocks": "splits.story_blocks",
    "split_subject_folds": "splits.folds",
    "split_unseen": "splits.unseen_people_and_stimuli",
    "simulate_stories": "simulate.story_cohort",
    "StoryDesign": "simulate.story_cohort",
    "story_dataset": "studies.stories",
    "story_onsets": "studies.stories",
    "story_samples": "readers.word_timings",
    "write_connectomes": "studies.connectome_study",
    "write_pereira_images": "studies.pereira",
    "write_resting": "studies.resting_study",
    "window_faults": "store.window_check",
    "write_runs_table": "readers.runs_table",
    "write_store": "store.prepare",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module 'fastbrain.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
