"""A valid call of every public function and checked dataclass, quick enough to be repeated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import make_dicom
import numpy as np
import torch
from torch import nn
from world import World

from fastbrain import data, decoding, evaluation, ops
from fastbrain.brainllm import BrainLLMConfig
from fastbrain.llm4brain import training as llm4brain_training
from fastbrain.lm import DigitTokens
from fastbrain.vqlm import VQAutoencoder

Arguments = dict[str, Any]

# what trains, loads, downloads or writes for longer than a test may take: a wrong type is refused
# by test_public_api_types.py before any work, and their values are looked at by their own tests
BY_TYPE_ONLY = frozenset(
    """
    adapt announced_runs annotate append_runs audit_brainllm audit_run build_model calibrate
    code_usage
    coding_scores compare_runs control_model convert_pickle decode evaluate_grids evaluate_model
    evaluate_run fit
    fit_encoding fit_mixture fit_readout fit_sentence_decoder fit_sentence_readout fit_steering
    from_pretrained from_vision_model leave_out load_brainllm
    load_grid_models
    load_llm load_qformer load_scmbm load_sentence_decoder
    load_video_branch load_vision_model load_vq meaning_retrieval
    merge_stores
    open_engine open_run pairwise_scorer pipeline plan_rest plan_study prepare_store pretrain_scmbm
    pretrain_video prompt_embeds sampling_params write_texts
    open_window_decoder plan_betas plan_native_grids plan_pereira
    plan_stories push_to_hub read_connectomes read_gentle
    reconstruct_encoded run_controls save_brainllm save_checkpoint save_pretrained serve_page
    simulate_stories split_story_blocks write_pereira_images
    score_human_study write_human_study
    save_vq simulate_cohort small_llm stage_one stage_two start_codebook text_targets train_brainllm
    train_brainllm_run train_llm4brain train_vq vector_llm video_targets warmup write_connectomes
    fetch_dataset labelled_trials write_collection write_fmriprep_derivative write_store
    """.split()
)

# the files, models or brains that they look for are not there: the answer is an error of ours
REFUSED = frozenset(
    {
        "bert_score",
        "compute_mask",
        "load_checkpoint",
        "read_resting",
        "runs_from_bids",
        "spice",
    }
)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return nn.functional.normalize(_normal(*shape, seed=seed), dim=-1)


def of_ops(w: World) -> dict[str, Callable[[], Arguments]]:
    state = ops.VQState.from_codebook(_normal(3, 4))
    rows = torch.arange(2)
    x, a, b = _normal(2, 4), _normal(2, 4), _normal(4, 2)
    layers = {"qkv": (_normal(12, 4), None), "out": (_normal(4, 4), None)}
    grid = w.store.grid
    return {
        "backend": lambda: {"name": "reference"},
        "explain": lambda: {"op": "vq_lookup", "args": (x, _normal(3, 4)), "options": {}},
        "observed": dict,
        "trust_encoder": lambda: {"name": "lab.encoders:Mixer"},
        "share_cores": dict,
        "tokenize_voxels": lambda: {
            "volumes": _normal(1, 1, grid.n_tokens, grid.patch_voxels),
            "weight": _normal(4, 1, *grid.kernel),
            "grid": grid,
        },
        "lora_linear": lambda: {"x": x, "weight": _normal(4, 4), "bias": None, "a": a, "b": b},
        "lora_attention": lambda: {
            "x": _normal(1, 2, 4), **layers, "num_heads": 2,
            "adapters": {"q": ops.LoraWeights(a, b)},
        },
        "neighborhood_clustering": lambda: {
            "features": _unit(2, 4), "prototypes": _unit(3, 4), "memory": _unit(5, 4),
            "indices": rows, "temperature": 0.1, "variant": "paper",
        },
        "memory_update_": lambda: {
            "memory": _unit(5, 4), "features": _unit(2, 4), "indices": rows, "momentum": 0.5,
        },
        "entropy_separation": lambda: {"logits": x, "rho": 0.5, "margin": 0.1},
        "pack_codebook": lambda: {"codebook": _normal(3, 4)},
        "vq_init": lambda: {"x": x, "codes": 2, "iterations": 1},
        "vq_lookup": lambda: {"x": x, "codebook": _normal(3, 4)},
        "vq_replace_dead_": lambda: {"state": state, "x": x, "threshold": 0.1},
        "vq_update_": lambda: {"state": state, "x": x, "indices": rows, "decay": 0.5},
    }  # fmt: skip


def of_data(w: World) -> dict[str, Callable[[], Arguments]]:
    records = [data.AuditRecord("a", "train"), data.AuditRecord("b", "test")]
    splitting = {"trials": w.trials, "key": "run"}
    rest = data.RestDesign(people=2, regions=4, networks=2, frames=20)
    words = [data.Word("a", 1.0, 1.5), data.Word("ball", 9.0, 9.5)]
    timed = {"tr": 2.0}
    lengths = {t.run_id: 40 for t in w.trials}
    planned = {"runs": w.runs, "window": w.window, "kernel": (2, 2, 2), "split": w.split}
    return {
        "load_volumes": lambda: {"path": w.folder / "sub-01_run-1.nii"},
        "load_betas": lambda: {"path": w.folder / "sub-01_run-1.nii", "divisor": 300.0},
        "read_beta_trials": lambda: {"run": w.runs[0], "n_betas": 3},
        "open_store": lambda: {"path": w.store.path},
        "token_centers": lambda: {"store": w.store},
        "open_recording": lambda: {"run": w.runs[0]},
        "read_runs_table": lambda: {"path": w.table},
        "plan_like": lambda: {"runs": w.runs, "like": w.store, "late": "drop"},
        "window_faults": lambda: {"store": w.store, "trial_ids": w.ids, "like": w.store},
        "plan_store": lambda: {**planned, "mask": w.mask},
        "runs_from_bids": lambda: {"root": w.folder},
        "split_by": lambda: {
            **splitting, "train": ["1"], "val": ["2"], "test": ["3"], "closed_set": True,
        },
        "split_folds": lambda: {**splitting, "folds": 3, "closed_set": True},
        "split_leave_one_out": lambda: {**splitting, "closed_set": True},
        "split_unseen": lambda: {
            "trials": w.trials, "test_subjects": ["02"], "val_fraction": 0.4, "closed_set": True,
        },
        "split_subject_folds": lambda: {
            "trials": w.trials, "val_fraction": 0.4, "closed_set": True,
        },
        "audit_records": lambda: {"records": records},
        "audit_store": lambda: {"store": w.store},
        "audit_trials": lambda: {"trials": w.trials, "split": w.store.split},
        "scan_digests": lambda: {"images": np.ones((2, 3), dtype=np.int16)},
        "store_facts": lambda: {"store": w.store},
        "verify_store": lambda: {"path": w.store.path},
        "absent_images": lambda: {"runs": w.runs},
        "run_design": lambda: {
            **timed, "trials": [t for t in w.trials if t.run_id == w.trials[0].run_id],
            "n_volumes": 40, "key": lambda t: t.category,
        },
        "run_designs": lambda: {
            **timed, "trials": w.trials, "lengths": lengths, "key": lambda t: t.category,
        },
        "removed_shares": lambda: {
            "designs": data.run_designs(
                w.trials, lengths=lengths, key=lambda t: t.category, **timed
            ),
            "nuisance": lambda design: np.arange(len(design.responses))[:, None],
        },
        "choose_filter": lambda: {
            **timed, "asked": None, "trials": w.trials, "lengths": lengths, "window": w.window,
        },
        "captions_from_tsv": lambda: {"path": w.folder / "captions.tsv"},
        "compute_mask": lambda: {"volumes": w.volumes},
        "fisher_z": lambda: {"correlations": [0.5, -0.2]},
        "fit_tangent_space": lambda: {
            "correlations": [[0.5], [0.2]], "fitted_on": ["a", "b"], "shrinkage": 0.1,
        },
        "fit_pca": lambda: {
            "rows": data.ArrayRows(_normal(8, 5).numpy()), "k": 2, "fitted_on": ["a"],
        },
        "intersect_masks": lambda: {"masks": [np.ones((2, 2, 2), dtype=bool)]},
        "events_from_frame": lambda: {"frame": data.events_to_frame(w.runs, w.trials)},
        "events_to_frame": lambda: {"runs": w.runs, "trials": w.trials},
        "dataset_preset": lambda: {"name": next(iter(data.PRESETS))},
        "runs_by_pattern": lambda: {"root": w.folder, "bold": "{subject}_run-1.nii"},
        "known_dataset": lambda: {"name": next(iter(data.DATASETS))},
        "story_dataset": lambda: {"name": next(iter(data.STORY_DATASETS))},
        "lagged_windows": lambda: {
            "features": np.ones((9, 2)), "at": [1, 2], "lags": (1, 2),
            "runs": ["a"] * 9, "at_runs": ["a", "a"],
        },
        "lanczos_downsample": lambda: {
            "features": np.ones((3, 2)), "times": [0.5, 1.0, 3.0], "n_volumes": 4, "tr": 2.0,
        },
        "parcel_series": lambda: {"source": w.volumes, "parcellation": w.parcellation},
        "read_mask": lambda: {
            "path": w.mask, "shape": w.volumes.shape[1:], "affine": w.volumes.affine,
        },
        "read_parcellation": lambda: {"path": w.mask, "volumes": w.volumes},
        "read_resting": lambda: {"folder": w.folder / "rest"},
        "read_trials": lambda: {
            "run": w.runs[0], "window": w.window, "tr": 2.0, "n_volumes": 40,
        },
        "read_words": lambda: {"path": w.folder / "words.tsv"},
        "resample_series": lambda: {"series": np.ones((2, 20)), "tr": 2.0, "new_tr": 1.0},
        "resting_study": lambda: {"cohort": data.simulate_rest(rest)},
        "simulate_rest": lambda: {"design": rest},
        "story_onsets": lambda: {"events": w.folder / "story.tsv"},
        "story_samples": lambda: {"words": words, "tr": 2.0, "n_volumes": 20},
        "texts_between": lambda: {"words": words, "start_s": [0.0], "stop_s": [4.0]},
        "word_rates": lambda: {"words": words, "tr": 2.0, "n_volumes": 20},
        "write_resting": lambda: {
            "study": data.resting_study(data.simulate_rest(rest)), "out": w.folder / "resting",
        },
        "write_runs_table": lambda: {"path": w.folder / "written.tsv", "runs": w.runs},
    }  # fmt: skip


def of_models(w: World) -> dict[str, Callable[[], Arguments]]:
    llm, tokenizer, vocabulary = w.coded
    groups = [f"run {i // 3}" for i in range(12)]
    ridge = {
        "x": _normal(12, 3).numpy(), "y": _normal(12, 2).numpy(), "folds": 3, "groups": groups,
    }  # fmt: skip
    texts = ["a ball is there"]
    pairs = {"brain": _normal(6, 3), "text": _normal(6, 3), "hidden": 4, "steps": 2}
    linear = nn.Linear(2, 2)
    return {
        "adapters_off": lambda: {"module": w.model},
        "attention_choice": lambda: {"kind": "cpu"},
        "brain_decoder": lambda: {"config": BrainLLMConfig(features=3), "out": 4},
        "brain_positions": lambda: {"centers_mm": _normal(3, 3), "dim": 12},
        "continue_codes": lambda: {
            "llm": llm, "vocabulary": vocabulary, "codes": torch.tensor([[0, 1], [2, 3]]),
            "steps": 1,
        },
        "encode_answers": lambda: {"tokenizer": w.tokenizer, "answers": texts},
        "encode_context": lambda: {"tokenizer": w.tokenizer, "prompts": texts, "max_tokens": 4},
        "encode_continuations": lambda: {
            "tokenizer": w.tokenizer, "texts": texts, "max_tokens": 8,
        },
        "encode_prompts": lambda: {"tokenizer": w.tokenizer, "prompts": texts},
        "extend_vocabulary": lambda: {
            "llm": _copied(w.llm), "tokenizer": _copied(w.tokenizer), "codes": 3,
        },
        "fit_closed_set": lambda: {
            "log_likelihood": _normal(12, 3).double().numpy(),
            "readout": _normal(12, 3).double().numpy(), "truth": np.arange(12) % 3,
        },
        "fit_evidence": lambda: dict.fromkeys(
            ("predicted", "vectors", "written"), _unit(3, 4).double().numpy()
        ),
        "fit_ridge": lambda: ridge,
        "fold_means": lambda: {"y": ridge["y"], "groups": groups},
        "group_folds": lambda: {"groups": groups, "n_folds": 2, "seed": 0},
        "fit_word_rate": lambda: {
            "windows": _normal(12, 2, 3).numpy(), "words": np.arange(12) % 4, "groups": groups,
        },
        "interleave": lambda: {
            "parts": ["what", torch.tensor([[0, 1]])], "tokenizer": tokenizer,
            "vocabulary": vocabulary,
        },
        "llm_fingerprint": lambda: {"llm": w.llm},
        "load_strict": lambda: {
            "module": linear, "state": dict(linear.state_dict()), "where": "a file",
        },
        "mixed_loss": lambda: {"llm": llm, "sequence": w.sequence},
        "mixed_nll": lambda: {"llm": llm, "sequences": [w.sequence]},
        "prompt_layout": lambda: {"tokenizer": w.tokenizer},
        "padding_note": lambda: {"tokenizer": w.tokenizer},
        "probe_domains": lambda: pairs,
        "recording_codes": lambda: {
            "coder": _started(w), "series": np.ones((2, 9), dtype=np.float32), "frames": 4,
        },
        "reversal_strength": lambda: {"progress": 0.5},
        "reverse_gradient": lambda: {"x": _normal(2, 3), "strength": 0.5},
        "spelled": lambda: {"answer": "ball", "tokenizer": w.tokenizer, "digits": None},
        "stair_step_mask": lambda: {"blocks": torch.arange(3)},
    }  # fmt: skip


def of_training(w: World) -> dict[str, Callable[[], Arguments]]:
    losses = llm4brain_training.LossConfig()
    return {
        "alignment_loss": lambda: {
            "brain": _normal(2, 3, 4), "video": _normal(2, 3, 4, seed=1), "alpha": 0.5,
        },
        "brainllm_preset": lambda: {"name": "fastbrain"},
        "clip_loss": lambda: {
            "brain": _normal(3, 4), "video": _normal(3, 4, seed=1),
            "log_tau": torch.tensor(math.log(0.1)),
        },
        "entropy_threshold": lambda: {"losses": losses, "n_classes": 4},
        "findings": lambda: {"losses": losses, "n_classes": 4},
        "latest_checkpoint": lambda: {"run_dir": w.folder},
        "load_checkpoint": lambda: {"folder": w.folder / "no checkpoint"},
        "plan_few_shot": lambda: {"store": w.store, "subject": "02", "runs": 1},
        "preset": lambda: {"stage": "stage1"},
        "reachable_entropy_minimum": lambda: {"tau": 0.1, "n_classes": 4},
        "split_target": lambda: {"store": w.store, "adapt_runs": 0},
        "vq_preset": lambda: {"regions": 4},
    }  # fmt: skip


def of_decoding(w: World) -> dict[str, Callable[[], Arguments]]:
    width = w.llm.get_input_embeddings().weight.shape[1]
    vocabulary = len(w.llm.get_output_embeddings().weight)
    texts, mask = torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool)
    prefixes = _normal(2, 3, width)
    scored = {"llm": w.llm, "prefixes": prefixes, "texts": texts, "mask": mask}
    llm, tokenizer, _ = w.coded
    return {
        "answer_odds": lambda: {
            "llm": llm, "sequence": w.sequence, "answers": ["ball", "box"], "tokenizer": tokenizer,
        },
        "guess_number": lambda: {
            "llm": llm, "sequence": w.sequence, "digits": DigitTokens.find(tokenizer),
        },
        "decode_windows": lambda: {
            "model": w.model, "batches": w.batches,
            "sampling": decoding.Sampling(max_new_tokens=2),
        },
        "generate": lambda: {
            "llm": w.llm, "inputs_embeds": prefixes, "eos_token_id": 1, "pad_token_id": 0,
            "sampling": decoding.Sampling(max_new_tokens=2),
        },
        "mean_nll": lambda: {"nll": torch.ones(2, 3), "mask": mask},
        "reconstruct": lambda: {
            "model": w.brainllm, "windows": _normal(2, 2, 4), "counts": [1, 0],
        },
        "score_matrix": lambda: scored,
        "score_pairs": lambda: {**scored, "pairs": torch.tensor([[0, 0], [1, 1]])},
        "score_steered": lambda: {
            "llm": w.llm, "prefix": prefixes[:1], "texts": texts, "mask": mask,
            "logit_bias": _normal(2, vocabulary),
        },
        "score_texts": lambda: {"model": w.model, "decoded": w.decoded, "texts": ["a ball"]},
        "story_search": lambda: {"name": "published"},
        "token_saliency": lambda: {"model": w.model, "batches": w.batches},
    }  # fmt: skip


def of_evaluation(w: World) -> dict[str, Callable[[], Arguments]]:
    c, blocks = w.conditions, list("aabbccdd")
    texts = {"hypotheses": ["a ball", "the box"], "references": ["a ball", "a box"]}
    nll = np.arange(64.0).reshape(8, 8)
    compared = {"permutations": 9, "resamples": 9}
    labels = {"truth": list("xyxyxyxy"), "classes": ["x", "y"]}
    surprise = {"true": np.linspace(1, 2, 8), "other": np.linspace(2, 3, 8), "blocks": blocks}
    score = w.scores[0]
    region = np.ones(w.store.grid.mask.shape, dtype=bool)
    metrics = tuple(m for m in evaluation.TEXT_METRICS if m.name in ("bleu1", "exact_match"))
    told = {"decoded": list(c.truth), "truth": list(c.truth), "metrics": metrics}
    return {
        "adjusted_p": lambda: {"p": [0.1, 0.5]},
        "binomial_interval": lambda: {"successes": 3, "trials": 8},
        "binomial_p": lambda: {"successes": 3, "trials": 8},
        "check_human_study": lambda: {"out": w.folder / "forms"},
        "crossed_interval": lambda: {
            "values": [1.0, 0.0, 1.0, 1.0], "first": list("aabb"), "second": list("xyxy"),
            "resamples": 9,
        },
        "fleiss_kappa": lambda: {"counts": [[2, 1], [0, 3]]},
        "krippendorff_alpha": lambda: {"ratings": [[1.0, 2.0, 2.0], [1.0, 2.0, 1.0]]},
        "split_half_ceiling": lambda: {
            "responses": np.random.default_rng(0).normal(size=(2, 5, 3)), "splits": 3,
        },
        "inter_subject_ceiling": lambda: {
            "responses": np.random.default_rng(0).normal(size=(2, 5, 3)),
        },
        "beside_ceiling": lambda: {"correlation": [0.1, 0.2], "ceiling": [0.3, 0.4]},
        "store_ceiling": lambda: {"store": w.store, "trial_ids": w.ids},
        "write_quality_page": lambda: {"store": w.store, "path": w.folder / "quality.html"},
        "atlas_regions": lambda: {"atlas": region.astype(np.int64), "store": w.store},
        "baseline_predictions": lambda: {
            "train": w.cohort[np.arange(6)], "test": w.cohort[np.arange(6, 12)], "kind": "scale",
        },
        "bert_score": lambda: {**texts, "model": "no such model"},
        "beside_baselines": lambda: {
            "score": lambda values: {"r": score}, "predicted": np.ones(3), "baselines": {},
        },
        "bleu": lambda: texts,
        "block_flip_p": lambda: {"differences": np.linspace(-1, 2, 8), "blocks": blocks},
        "brain_use": lambda: {"written": ["a ball", "a box"], "no_brain": ["a"]},
        "bootstrap_interval": lambda: {"values": np.arange(8.0), "resamples": 9},
        "by_surprise": lambda: {"conditions": c, "bins": 2},
        "changed_store": lambda: {
            "store": w.store, "name": "same", "change": lambda run, values: values,
        },
        "cider_d": lambda: {"hypotheses": ["a ball"], "references": [["a ball", "a box"]]},
        "common_trials": lambda: {"store": w.store, "trial_ids": w.ids, "delays_trs": [0, 1]},
        "connectivity_features": lambda: {"series": _normal(9, 3).numpy()},
        "correlations": lambda: {
            "predicted": _normal(3, 4).numpy(), "candidates": _normal(2, 4).numpy(),
        },
        "cross_validated_baselines": lambda: {"cohort": w.cohort, "kind": "scale", "folds": 2},
        "cut_to_reference_length": lambda: texts,
        "delay_sweep": lambda: {"evaluate": lambda delay: score, "delays": [-1.0, 2.0]},
        "delayed_store": lambda: {"store": w.store, "delay_trs": 1},
        "derangements": lambda: {"blocks": (blocks,), "count": 5},
        "diversity": lambda: {"texts": ["a ball", "a box"]},
        "effect_size": lambda: {"differences": [1.0, 2.0, 4.0]},
        "evaluate_regions": lambda: {
            "evaluate": lambda name, mask: score, "regions": {"whole": region},
        },
        "evaluate_text": lambda: {"samples": w.samples, "conditions": c, "bert": False},
        "find_score": lambda: {"scores": [score], "metric": "bleu1", "group": score.group},
        "fit_linear_baseline": lambda: {
            "store": w.store, "trial_ids": w.store.split.test, "bert": False,
        },
        "fluency": lambda: {"texts": ["a ball", "a box"]},
        "gaussian_noise": lambda: {"n": 2, "moments": w.moments},
        "identification_from_text": lambda: {
            "written": ["a", "b", "c d"], "truth": ["a", "b", "c"], "blocks": [0, 1, 2],
            "by": "words", "count": 5,
        },
        "keep_region": lambda: {
            "values": np.ones((2, 3)), "mask": np.array([True, False, True]), "moments": w.moments,
        },
        "label_scores": lambda: {
            **labels, "probabilities": np.tile([[0.6, 0.4], [0.3, 0.7]], (4, 1)), **compared,
        },
        "majority_text": lambda: {"train_texts": ["a", "a", "b"]},
        "mean_over_people": lambda: {"scores": w.scores},
        "meteor": lambda: {"hypotheses": ["a ball"], "references": [["a ball", "a box"]]},
        "nearest_text_unigram": lambda: {
            "similarity": _normal(2, 3).numpy(), "train_counts": np.ones((3, 4)),
        },
        "nearest_training_texts": lambda: {
            "features": _normal(2, 3).numpy(), "train_features": _normal(3, 3).numpy(),
            "train_texts": ["a", "b", "c"],
        },
        "needed_pairs": lambda: {"partners": c.partners},
        "noise_store": lambda: {"store": w.store, "kind": "zero brain"},
        "pairwise": lambda: {"nll": nll, "partners": c.partners},
        "pairwise_gathered": lambda: {"true": np.ones(4), "deranged": np.ones((2, 4))},
        "pairwise_score": lambda: surprise,
        "permutation_p": lambda: {"observed": 0.5, "null": [0.1, 0.2]},
        "phase_randomised": lambda: {"series": _normal(9, 2).numpy()},
        "prompt_sweep": lambda: {
            "true": np.ones((8, 3)), "deranged": np.full((2, 8, 3), 2.0),
            "mask": np.ones((8, 3), dtype=bool), "lengths": [1, 2], "blocks": blocks,
        },
        "read_caption_references": lambda: {"path": _captions(w)},
        "read_captions": lambda: {"path": _captions(w)},
        "read_samples": lambda: {"path": _written(w)},
        "region_store": lambda: {"store": w.store, "name": "whole", "mask": region},
        "retrieval": lambda: {"similarity": nll, "blocks": blocks, "count": 5},
        "retrieval_scores": lambda: {"similarity": nll},
        "rouge_l": lambda: texts,
        "sample_scores": lambda: {"columns": {"bleu1": [0.5, 1.0]}},
        "scale_scores": lambda: {
            "truth": np.arange(8.0), "predicted": np.arange(8.0)[::-1] ** 2, **compared,
        },
        "score_beside_null": lambda: {
            "metric": "two_way", "values": np.ones(4), "null": [0.4, 0.6], "mode": "retrieval",
            "control": "deranged brain", "blocks": ["a", "a", "b", "b"], "partners": c.partners[:2],
        },
        "score_captions": lambda: {
            "captions": {"0": "a ball", "1": "a box"}, "meaning": False, "count": 5,
            "references": {"0": ["a ball"], "1": ["a red box", "a box"]},
        },
        "scores_by_subject": lambda: {
            "subjects": [s.subject for s in w.samples], "conditions": c, "metrics": metrics,
        },
        "shifted_partners": lambda: {"lengths": [9, 9], "guard": 1, "count": 3},
        "sign_flip_p": lambda: {"differences": [1.0, 2.0, -0.5], "flips": 9},
        "spice": lambda: {"hypotheses": ["a ball"], "references": [["a ball", "a box"]]},
        "spread_counts": lambda: {
            "counts": np.ones((2, 3)), "vectors": _normal(3, 4).numpy(),
        },
        "story_scores": lambda: {**told, "partners": c.partners, "blocks": blocks},
        "subject_table": lambda: {"scores": w.scores},
        "surprise_bins": lambda: {"surprise": np.arange(8.0), **surprise, "bins": 2},
        "sweep": lambda: {
            "evaluate": lambda value: score, "values": [1.0, 2.0], "name": "x", "unit": "s",
        },
        "template_text": lambda: {"train_texts": ["a ball", "a box"]},
        "text_scores": lambda: {**told, "partners": c.partners, "resamples": 9},
        "with_adjusted": lambda: {"scores": w.scores},
        "write_captions": lambda: {
            "path": w.folder / "captions.json", "captions": {"0": "a ball", "1": "a box"},
        },
        "write_report": lambda: {
            "path": w.folder / "report.html", "evaluation": w.evaluation,
            "parts": evaluation.ReportParts(),
        },
        "write_samples": lambda: {
            "path": w.folder / "samples.parquet", "evaluation": w.evaluation,
        },
        "zero_brain": lambda: {"n": 2, "moments": w.moments},
    }  # fmt: skip


def of_integrations(w: World) -> dict[str, Callable[[], Arguments]]:
    from peft import LoraConfig, get_peft_model

    def adapted() -> Any:
        return get_peft_model(nn.Sequential(nn.Linear(3, 2)), LoraConfig(r=2, target_modules=["0"]))

    return {"accelerate_peft": lambda: {"model": adapted()}}


def of_realtime(w: World) -> dict[str, Callable[[], Arguments]]:
    path = w.folder / "volume.dcm"
    path.write_bytes(make_dicom.mosaic(make_dicom.voxels()))
    return {
        "open_source": lambda: {"spec": "push"},
        "read_dicom": lambda: {"path": path},
    }


def calls(w: World) -> dict[str, Callable[[], Arguments]]:
    """By name: arguments of a valid call, made anew each time."""
    parts = (of_ops, of_data, of_models, of_training, of_decoding, of_evaluation, of_integrations)
    parts += (of_realtime,)
    return {name: make for part in parts for name, make in part(w).items()}


def _copied(value: Any) -> Any:
    import copy

    return copy.deepcopy(value)


def _captions(w: World) -> Any:
    return evaluation.write_captions(w.folder / "captions.json", {"0": "a ball", "1": "a box"})


def _written(w: World) -> Any:
    path = w.folder / "written.parquet"
    return path if path.exists() else evaluation.write_samples(path, w.evaluation)


def _started(w: World) -> VQAutoencoder:
    if not w.coder.quantiser.started:
        w.coder.quantiser.start(_normal(20, 4))
    return w.coder
