"""Configuration of a run: language model, stimulus, sizes and stages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..._arguments import checked
from ...errors import ConfigError
from ...lm.device_map import require_device_map
from ...lm.quantised import BITS
from ...nn.config import VideoConfig
from ...nn.config_io import from_dict, require, to_dict
from ..config import EncoderConfig, LLM4BrainConfig, QFormerConfig
from ..custom_encoder import CustomEncoder
from .presets import STAGE_NAMES, preset
from .stage_config import LLM4BrainStage

# SC-MBM of Mind-Vis, and the video Q-Former of Video-LLaMA
_SCMBM = EncoderConfig(
    dim=1024, depth=24, heads=16, decoder_dim=512, decoder_depth=8, decoder_heads=16
)
_QFORMER = QFormerConfig(dim=768, depth=2, heads=12, n_queries=32, bert=True)
# of the runs of a test person; the paper states "a proportion"
_SHARE = 0.5


@checked(error=ConfigError)
@dataclass(frozen=True)
class RunConfig:
    """Configuration of :func:`train_llm4brain`.

    Parameters
    ----------
    llm : str or None
        Hub name or folder of a causal language model. None trains a small one on `corpus`.
    corpus : str or None
        Text file with one sentence per line, to train the small language model. None: the texts
        of the training part.
    prompts : tuple of str
        Instructions. One is drawn for each training sample; the first is used for decoding. If the
        trials of the store have instructions (``fastbrain study``), those replace the prompts.
    stimulus : {"clips", "text"} or None
        Source of the targets of stage I: the clips of the trials through the video branch, or the
        word embeddings of their texts. None: clips if the store has them, otherwise texts.
    encoder_weights : str or None
        Safetensors file of a pretrained SC-MBM encoder, published or from ``fastbrain train
        scmbm``. The manifest of the run records its digest.
    vision_model : str or None
        Hub name or folder of a vision model of transformers (ViT, CLIP, BLIP-2, ...) that encodes
        the frames of clips. It is frozen; each clip is encoded once and cached.
        None: a small built-in frame encoder, which the stage `video` trains.
    qformer_weights : str or None
        Safetensors file of a published Q-Former, with projection and frame position embedding if
        the file has them (:func:`fastbrain.llm4brain.load_video_branch`). The manifest of the run
        records its digest. `video` may then be None, because the video branch is already trained.
    qformer_prefix : str or None
        Name prefix of the Q-Former if the file has several, e.g. "video_Qformer.bert.".
    model : LLM4BrainConfig
        `frames`, `n_classes` and `people` are replaced by values from the store.
    pretrain, video, calibrate, stage1, stage2 : LLM4BrainStage or None
        None skips the stage. `video` is used for clips only.
    adapt_runs : int or float
        Test runs for domain adaptation on their windows without texts: their number, or, below 1,
        the share of the runs of every test person. These runs are never scored, and the result is
        labelled transductive. 0: inductive.
    readout_memory_gb : float
        Most memory for fitting the linear readout, GB, beside targets and model. Where the exact
        regression needs more, it is fitted on a random projection of the tokens.
    seed : int
    llm_rank : int
        Rank of LoRA on all linear layers of the language model, trained by the stages with the
        group "llm_adapters"; 0: the language model is frozen.
    llm_bits : {8, 4} or None
        Precision of the weights of the frozen language model, also when the run is evaluated;
        None: as it is loaded.
    llm_device_map : str, dict of str to int or str, or None
        Spread the frozen language model over devices, memory and disk, also when the run is
        evaluated; see :func:`fastbrain.load_llm`. For one process, without `llm_rank`.
    """

    llm: str | None = None
    corpus: str | None = None
    prompts: tuple[str, ...] = ("what does the person see ?",)
    stimulus: str | None = None
    encoder_weights: str | None = None
    vision_model: str | None = None
    qformer_weights: str | None = None
    qformer_prefix: str | None = None
    model: LLM4BrainConfig = field(default_factory=LLM4BrainConfig)
    pretrain: LLM4BrainStage | None = None
    video: LLM4BrainStage | None = field(default_factory=lambda: preset("video"))
    calibrate: LLM4BrainStage | None = None
    stage1: LLM4BrainStage | None = field(default_factory=lambda: preset("stage1"))
    stage2: LLM4BrainStage | None = field(default_factory=lambda: preset("stage2"))
    adapt_runs: int | float = 0
    readout_memory_gb: float = 1.0
    seed: int = 0
    llm_rank: int = 0
    llm_bits: int | None = None
    llm_device_map: str | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        known = (None, "clips", "text")
        require(self, "stimulus", self.stimulus in known, "be clips, text or None")
        require(self, "prompts", bool(self.prompts), "hold at least one prompt")
        counts = self.adapt_runs >= 0 and (self.adapt_runs < 1 or self.adapt_runs % 1 == 0)
        require(self, "adapt_runs", counts, "be a number of runs, or a share of them below 1")
        require(self, "readout_memory_gb", self.readout_memory_gb > 0, "be positive")
        if self.stimulus == "clips" and self.video is None and self.qformer_weights is None:
            raise ConfigError(
                "RunConfig: video must be configured for clips, got None without qformer_weights. "
                "Configure the stage, or train on texts (stimulus='text')."
            )
        needless = self.stimulus == "text" and self.vision_model is not None
        require(self, "vision_model", not needless, "be None for stimulus='text'")
        lone = self.qformer_prefix is not None and self.qformer_weights is None
        require(self, "qformer_prefix", not lone, "be None without qformer_weights")
        if self.qformer_weights is not None and not self.model.qformer.bert:
            raise ConfigError(
                "RunConfig: qformer_weights must have a Q-Former in the layout of BERT, got "
                "model.qformer.bert=False."
            )
        if self.calibrate is not None and not self.model.readout_rank:
            raise ConfigError("RunConfig: calibrate must have a readout, got readout_rank=0.")
        require(self, "llm_rank", self.llm_rank >= 0, "be 0 or more")
        require(self, "llm_bits", self.llm_bits in (None, *BITS), "be 8, 4 or None")
        require_device_map(self)
        needless = self.model.custom_encoder is None or self.pretrain is None
        require(self, "pretrain", needless, "be None with model.custom_encoder: it trains SC-MBM")
        needless = self.model.custom_encoder is None or self.encoder_weights is None
        require(self, "encoder_weights", needless, "be None with model.custom_encoder")
        trained = {g for stage in (self.stage1, self.stage2) if stage for g in stage.groups}
        if (self.model.subjects is not None) != ("subjects" in trained):
            raise ConfigError(
                f"RunConfig: group 'subjects' must train in stage I or II where the model has "
                f"such a table, and nowhere else, got subjects={self.model.subjects!r} and "
                f"{'the' if 'subjects' in trained else 'no'} group. See RunConfig.with_subjects."
            )

        every = {g for stage in self._stages().values() for g in stage.groups}
        if (self.llm_rank > 0) != ("llm_adapters" in every):
            raise ConfigError(
                f"RunConfig: group 'llm_adapters' must train in a stage where llm_rank is above 0, "
                f"and nowhere else, got llm_rank={self.llm_rank} and "
                f"{'the' if 'llm_adapters' in every else 'no'} group. See RunConfig.tuning_llm."
            )

    @classmethod
    def preset(cls, name: str = "fastbrain") -> RunConfig:
        """Build a run configuration from a preset: fastbrain, the paper, or published code.

        Parameters
        ----------
        name : {"fastbrain", "paper", "paper-small", "published-code"}
            "paper" has the sizes of the paper: SC-MBM of 24 blocks of width 1024, a Q-Former of
            Video-LLaMA with 32 queries. Set `llm` yourself. "paper-small" is the same in the
            default sizes. Both adapt to half of the runs of every test person (the paper does not
            state the share). "published-code" is of default sizes and has `adapt_runs` 0. All three
            build the model without linear readout and without the map across patches, and pretrain
            the encoder on the training runs unless `encoder_weights` are set.

        Returns
        -------
        RunConfig

        Raises
        ------
        ConfigError
            The preset is unknown.
        """
        if name == "fastbrain":
            return cls()
        sizes = LLM4BrainConfig(readout_rank=0, bridge_tokens=0)
        if name == "paper":
            sizes = replace(sizes, encoder=_SCMBM, qformer=_QFORMER, video=VideoConfig(frames=8))
        return cls(
            model=sizes,
            adapt_runs=_SHARE if name in ("paper", "paper-small") else 0,
            pretrain=preset("pretrain", name),
            video=preset("video", name),
            stage1=preset("stage1", name),
            stage2=preset("stage2", name),
        )

    def with_subjects(self, kind: str) -> RunConfig:
        """Return a copy with a subject table in the model, trained in stages I and II.

        Parameters
        ----------
        kind : {"embedding", "affine"}
        """
        stages = {
            name: replace(stage, groups=(*stage.groups, "subjects"))
            for name in ("stage1", "stage2")
            if (stage := getattr(self, name)) is not None and "subjects" not in stage.groups
        }
        return replace(self, model=replace(self.model, subjects=kind), **stages)

    def with_encoder(self, name: str, arguments: dict[str, Any] | None = None) -> RunConfig:
        """Return a copy in which a class of the user is the encoder, trained as a whole.

        Parameters
        ----------
        name : str
            ``package.module:Class``; see :mod:`fastbrain.llm4brain.custom_encoder`.
        arguments : dict, optional
            JSON values for its constructor.
        """
        stages: dict[str, Any] = {}
        for stage_name, stage in self._stages().items():
            groups = tuple(
                dict.fromkeys("encoder" if g == "encoder_adapters" else g for g in stage.groups)
            )
            stages[stage_name] = replace(stage, groups=groups)
        custom = CustomEncoder(name, arguments or {})
        model = replace(self.model, custom_encoder=custom)
        return replace(self, model=model, **{**stages, "pretrain": None})

    def with_seed(self, seed: int) -> RunConfig:
        """Return a copy in which the run and all its stages have this seed."""
        stages: dict[str, Any] = {
            name: replace(stage, seed=seed) for name, stage in self._stages().items()
        }
        return replace(self, seed=seed, **stages)

    def tuning_llm(self, rank: int) -> RunConfig:
        """Return a copy in which stage II also trains LoRA of this rank on the language model.

        With rank 0, the language model is frozen in all stages.

        Raises
        ------
        ConfigError
            There is no stage II.
        """
        if rank == 0:
            frozen: dict[str, Any] = {
                name: replace(stage, groups=tuple(g for g in stage.groups if g != "llm_adapters"))
                for name, stage in self._stages().items()
            }
            return replace(self, llm_rank=0, **frozen)
        if self.stage2 is None:
            raise ConfigError("RunConfig: stage2 must be configured to tune the LLM, got None.")
        groups = tuple(dict.fromkeys((*self.stage2.groups, "llm_adapters")))
        return replace(self, llm_rank=rank, stage2=replace(self.stage2, groups=groups))

    def _stages(self) -> dict[str, LLM4BrainStage]:
        return {name: stage for name in STAGE_NAMES if (stage := getattr(self, name)) is not None}

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Any) -> RunConfig:
        """Build from a plain dict; an unknown key raises :class:`ConfigError`."""
        return from_dict(cls, values)
