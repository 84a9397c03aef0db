"""Text, retrieval and clinical scores, each with its chance level from control conditions."""

from ..decoding.brain_decoder import BrainDecoder
from ..stats.correlations import correlations
from ..stats.inference import block_flip_p
from .analyses.brain_use import BrainUse, brain_use
from .analyses.by_subject import mean_over_people, scores_by_subject, subject_table
from .analyses.linear_baseline import LinearBaseline, fit_linear_baseline
from .analyses.noise_ceiling import (
    CeilingComparison,
    beside_ceiling,
    inter_subject_ceiling,
    split_half_ceiling,
)
from .analyses.regions import (
    RegionScore,
    atlas_regions,
    evaluate_regions,
    keep_region,
    region_store,
)
from .analyses.semantic_retrieval import meaning_retrieval
from .analyses.store_ceiling import store_ceiling
from .analyses.stories import shifted_partners, story_scores
from .analyses.surprise import SurpriseBin, by_surprise, surprise_bins
from .analyses.sweeps import Sweep, delay_sweep, prompt_sweep, sweep
from .captions import (
    CaptionScores,
    read_caption_references,
    read_captions,
    score_captions,
    write_captions,
)
from .controls.clinical_baselines import (
    ClinicalCohort,
    baseline_predictions,
    connectivity_features,
    cross_validated_baselines,
)
from .controls.conditions import Conditions, Control, pairwise_score
from .controls.likelihoods import Pairwise, pairwise, pairwise_gathered
from .controls.noise import Moments, gaussian_noise, noise_store, phase_randomised, zero_brain
from .controls.run_controls import run_controls
from .controls.store_views import StoreView, changed_store, common_trials, delayed_store
from .controls.text_baselines import majority_text, nearest_training_texts, template_text
from .controls.unigram import nearest_text_unigram, spread_counts
from .controls.unigram_decoder import NearestTextUnigram
from .decoder_choice import DecoderChoice
from .human_study.results import PreferenceResult, score_human_study
from .human_study.write import check_human_study, write_human_study
from .metrics.cider import cider_d
from .metrics.clinical import beside_baselines, label_scores, scale_scores
from .metrics.corpus import TextResult, bert_score, bleu, rouge_l, text_scores
from .metrics.diversity import Diversity, cut_to_reference_length, diversity
from .metrics.fluency import Fluency, fluency
from .metrics.identification import identification_from_text
from .metrics.identified import CurvePoint, Identification
from .metrics.meteor import meteor
from .metrics.registry import TEXT_METRICS, TextMetric
from .metrics.retrieval import Found, Retrieval, retrieval, retrieval_scores
from .metrics.spice import spice
from .protocol import Evaluation, Sample, evaluate_text, find_score
from .records import read_samples, sample_scores, write_samples
from .report.compare_runs import Comparison, Difference, compare_runs
from .report.html import ReportParts, write_report
from .report.quality_page import write_quality_page
from .scores import Score, score_beside_null, with_adjusted

__all__ = [
    "TEXT_METRICS",
    "BrainDecoder",
    "BrainUse",
    "CaptionScores",
    "CeilingComparison",
    "ClinicalCohort",
    "Comparison",
    "Conditions",
    "Control",
    "CurvePoint",
    "DecoderChoice",
    "Difference",
    "Diversity",
    "Evaluation",
    "Fluency",
    "Found",
    "Identification",
    "LinearBaseline",
    "Moments",
    "NearestTextUnigram",
    "Pairwise",
    "PreferenceResult",
    "RegionScore",
    "ReportParts",
    "Retrieval",
    "Sample",
    "Score",
    "StoreView",
    "SurpriseBin",
    "Sweep",
    "TextMetric",
    "TextResult",
    "atlas_regions",
    "baseline_predictions",
    "bert_score",
    "beside_baselines",
    "beside_ceiling",
    "bleu",
    "block_flip_p",
    "brain_use",
    "by_surprise",
    "changed_store",
    "check_human_study",
    "cider_d",
    "common_trials",
    "compare_runs",
    "connectivity_features",
    "correlations",
    "cross_validated_baselines",
    "cut_to_reference_length",
    "delay_sweep",
    "delayed_store",
    "diversity",
    "evaluate_regions",
    "evaluate_text",
    "find_score",
    "fit_linear_baseline",
    "fluency",
    "gaussian_noise",
    "identification_from_text",
    "inter_subject_ceiling",
    "keep_region",
    "label_scores",
    "majority_text",
    "mean_over_people",
    "meaning_retrieval",
    "meteor",
    "nearest_text_unigram",
    "nearest_training_texts",
    "noise_store",
    "pairwise",
    "pairwise_gathered",
    "pairwise_score",
    "phase_randomised",
    "prompt_sweep",
    "read_caption_references",
    "read_captions",
    "read_samples",
    "region_store",
    "retrieval",
    "retrieval_scores",
    "rouge_l",
    "run_controls",
    "sample_scores",
    "scale_scores",
    "score_beside_null",
    "score_captions",
    "score_human_study",
    "scores_by_subject",
    "shifted_partners",
    "spice",
    "split_half_ceiling",
    "spread_counts",
    "store_ceiling",
    "story_scores",
    "subject_table",
    "surprise_bins",
    "sweep",
    "template_text",
    "text_scores",
    "with_adjusted",
    "write_captions",
    "write_human_study",
    "write_quality_page",
    "write_report",
    "write_samples",
    "zero_brain",
]
