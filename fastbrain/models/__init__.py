"""Models: plain modules that take tensors and give tensors."""

from ..stats.ridge import Ridge, fit_ridge
from .alignment import (
    ContrastiveAlignment,
    DomainClassifier,
    DomainProbe,
    probe_domains,
    reversal_strength,
    reverse_gradient,
)
from .blocks import Block
from .brainconfig import BrainLLMConfig
from .braindecoder import brain_decoder
from .brainllm import BrainLLM
from .bridge import Bridge
from .config import (
    AdaptorConfig,
    EncoderConfig,
    LLM4BrainConfig,
    QFormerConfig,
    TokenizerConfig,
    VideoConfig,
)
from .digits import DigitTokens
from .encoding import EncodingModel, fit_encoding
from .hub import (
    attention_choice,
    llm_fingerprint,
    load_llm,
    padding_note,
)
from .layers import AdaptedLinear, Adaptor, adaptors_off
from .llm4brain import LLM4Brain
from .mixed import (
    MixedSequence,
    continue_codes,
    interleave,
    mixed_loss,
    mixed_nll,
    stair_step_mask,
)
from .positions import brain_positions
from .pretrained import (
    ModelCard,
    from_pretrained,
    load_strict,
    save_pretrained,
)
from .published import Published, convert_pickle, load_scmbm
from .qformer import QFormer
from .qformer_weights import load_qformer, load_video_branch
from .quantiser import Quantised, ScalarQuantiser, VectorQuantiser
from .question import Question, recording_codes, spelled
from .readiness import Warmed, warmup
from .readout import Readout
from .scmbm import SCMBM, MaskedAutoencoder
from .sharedprompt import SharedPrompt
from .sharing import push_to_hub
from .subjects import SubjectTable
from .text import (
    encode_answers,
    encode_context,
    encode_continuations,
    encode_prompts,
)
from .vectorlm import vector_llm
from .video import FrameEncoder
from .vision import VisionModelFrames, from_vision_model, load_vision_model
from .vocabulary import CodeVocabulary, extend_vocabulary
from .voxel import VoxelTokenizer
from .vq_autoencoder import Reconstruction, VQAutoencoder
from .vq_config import QuantiserConfig, VQAutoencoderConfig
from .vq_files import CoderCard, load_vq, save_vq
from .wordfeatures import WordFeatures
from .wordlevel import small_llm
from .wordrate import WordRate, fit_word_rate

__all__ = [
    "SCMBM",
    "AdaptedLinear",
    "Adaptor",
    "AdaptorConfig",
    "Block",
    "BrainLLM",
    "BrainLLMConfig",
    "Bridge",
    "CodeVocabulary",
    "CoderCard",
    "ContrastiveAlignment",
    "DigitTokens",
    "DomainClassifier",
    "DomainProbe",
    "EncoderConfig",
    "EncodingModel",
    "FrameEncoder",
    "LLM4Brain",
    "LLM4BrainConfig",
    "MaskedAutoencoder",
    "MixedSequence",
    "ModelCard",
    "Published",
    "QFormer",
    "QFormerConfig",
    "Quantised",
    "QuantiserConfig",
    "Question",
    "Readout",
    "Reconstruction",
    "Ridge",
    "ScalarQuantiser",
    "SharedPrompt",
    "SubjectTable",
    "TokenizerConfig",
    "VQAutoencoder",
    "VQAutoencoderConfig",
    "VectorQuantiser",
    "VideoConfig",
    "VisionModelFrames",
    "VoxelTokenizer",
    "Warmed",
    "WordFeatures",
    "WordRate",
    "adaptors_off",
    "attention_choice",
    "brain_decoder",
    "brain_positions",
    "continue_codes",
    "convert_pickle",
    "encode_answers",
    "encode_context",
    "encode_continuations",
    "encode_prompts",
    "extend_vocabulary",
    "fit_encoding",
    "fit_ridge",
    "fit_word_rate",
    "from_pretrained",
    "from_vision_model",
    "interleave",
    "llm_fingerprint",
    "load_llm",
    "load_qformer",
    "load_scmbm",
    "load_strict",
    "load_video_branch",
    "load_vision_model",
    "load_vq",
    "mixed_loss",
    "mixed_nll",
    "padding_note",
    "probe_domains",
    "push_to_hub",
    "recording_codes",
    "reversal_strength",
    "reverse_gradient",
    "save_pretrained",
    "save_vq",
    "small_llm",
    "spelled",
    "stair_step_mask",
    "vector_llm",
    "warmup",
]
