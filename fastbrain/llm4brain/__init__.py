"""LLM4Brain (arXiv 2409.17987): tokenizer, encoder, Q-Former, language model and their training."""

from ..nn.config import AdapterConfig, VideoConfig
from .bridge import Bridge
from .card_record import ModelCard
from .config import EncoderConfig, LLM4BrainConfig, QFormerConfig, TokenizerConfig
from .control_decoder import LLM4BrainDecoder
from .controls import control_model, pairwise_scorer
from .cross_validation import leave_out
from .custom_encoder import CustomEncoder, trust_encoder
from .decode import Decoded, decode_windows, score_texts, token_saliency
from .encoder import SCMBM, MaskedAutoencoder
from .evaluate import evaluate_model, evaluate_run
from .evaluate_grids import evaluate_grids
from .grid_encoders import GridLayout
from .grid_models import GridModels
from .model import LLM4Brain
from .open_run import open_run
from .published_weights import Published, convert_pickle, load_scmbm
from .push_to_hub import push_to_hub
from .qformer import QFormer
from .qformer_weights import load_qformer, load_video_branch
from .readout import Readout
from .saving import from_pretrained, load_grid_models, save_pretrained
from .subject_table import SubjectTable
from .tokenizer import VoxelTokenizer
from .vision_model import VisionModelFrames, from_vision_model, load_vision_model
from .warmup import Warmed, warmup

__all__ = [
    "SCMBM",
    "AdapterConfig",
    "Bridge",
    "CustomEncoder",
    "Decoded",
    "EncoderConfig",
    "GridLayout",
    "GridModels",
    "LLM4Brain",
    "LLM4BrainConfig",
    "LLM4BrainDecoder",
    "MaskedAutoencoder",
    "ModelCard",
    "Published",
    "QFormer",
    "QFormerConfig",
    "Readout",
    "SubjectTable",
    "TokenizerConfig",
    "VideoConfig",
    "VisionModelFrames",
    "VoxelTokenizer",
    "Warmed",
    "control_model",
    "convert_pickle",
    "decode_windows",
    "evaluate_grids",
    "evaluate_model",
    "evaluate_run",
    "from_pretrained",
    "from_vision_model",
    "leave_out",
    "load_grid_models",
    "load_qformer",
    "load_scmbm",
    "load_video_branch",
    "load_vision_model",
    "open_run",
    "pairwise_scorer",
    "push_to_hub",
    "save_pretrained",
    "score_texts",
    "token_saliency",
    "trust_encoder",
    "warmup",
]
