"""Frozen frame encoders from vision models of transformers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from .._arguments import checked
from ..errors import InputError
from ..lm.sources import find_model, load_weights_of

# excluded from the digest: path and version of loading, and dtype, which each weight has
_ASIDE = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")


class VisionModelFrames(nn.Module):
    """Frozen frame encoder that wraps a vision model of transformers.

    Parameters
    ----------
    model : PreTrainedModel
        Takes `pixel_values` (N, 3, H, W) and returns `last_hidden_state` (N, patches, d). If it
        has an image Q-Former (BLIP-2, as in Video-LLaMA), each frame also passes that, and the
        outputs of its queries replace the patches.
    mean, std : tuple of 3 float
        Colour statistics of the image processor.

    Attributes
    ----------
    dim : int
        Width of the output tokens.
    size : int
        Height and width of the input frames, pixels; 0 if the configuration has no single size.
    revision : str
        Commit on the hub; empty for a model from a folder.
    """

    mean: Tensor
    std: Tensor
    revision: str = ""

    def __init__(
        self,
        model: Any,
        *,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        own = model.config
        self.queried = hasattr(model, "qformer") and hasattr(model, "query_tokens")
        seen = own.vision_config if self.queried else own
        self.dim = int((own.qformer_config if self.queried else own).hidden_size)
        side = getattr(seen, "image_size", 0)
        self.size = side if isinstance(side, int) else 0
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> VisionModelFrames:
        """Stay in evaluation mode: the model is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Encode clips (B, T, 3, H, W) in [0, 1] into (B, T·patches, dim)."""
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise InputError(
                f"VisionModelFrames: frames must be (B, T, 3, H, W), got {tuple(frames.shape)}."
            )
        pixels = (frames.flatten(0, 1) - self.mean) / self.std
        model = self.model.vision_model if self.queried else self.model
        hidden = model(pixel_values=pixels).last_hidden_state  # (B·T, p, d)
        if self.queried:
            hidden = self.model.qformer(
                query_embeds=self.model.query_tokens.expand(len(hidden), -1, -1),
                encoder_hidden_states=hidden,
            ).last_hidden_state
        return hidden.unflatten(0, frames.shape[:2]).flatten(1, 2)

    def digest(self) -> str:
        """Hash everything that determines the tokens: weights, configuration, colour statistics."""
        config = {k: v for k, v in self.model.config.to_dict().items() if k not in _ASIDE}
        key = [type(self.model).__name__, config, self.mean.tolist(), self.std.tolist()]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode())
        for name, value in sorted(self.model.state_dict().items()):
            whole = value.detach().cpu().contiguous()
            digest.update(f"{name} {whole.dtype} {tuple(whole.shape)}".encode())
            digest.update(whole.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


@checked
def from_vision_model(model: Any, *, processor: Any = None) -> VisionModelFrames:
    """Wrap a vision model of transformers as a frame encoder.

    Parameters
    ----------
    model : PreTrainedModel
    processor : image processor, optional
        Source of the colour statistics (`image_mean`, `image_std`); default 0.5.

    Returns
    -------
    VisionModelFrames
        Pass it as ``LLM4Brain(video=...)``.
    """
    if processor is None:
        return VisionModelFrames(model)
    return VisionModelFrames(
        model, mean=tuple(processor.image_mean), std=tuple(processor.image_std)
    )


@checked
def load_vision_model(name_or_path: str, *, device: str = "cpu") -> VisionModelFrames:
    """Load a vision model (ViT, DINO, CLIP, SigLIP, BLIP-2, ...) as a frozen frame encoder.

    From a model of images and texts only the vision model is used, and its image Q-Former if it
    has one. Nothing is downloaded if `HF_HUB_OFFLINE` is set. Models with custom code and weights
    that are not safetensors raise an error.

    Parameters
    ----------
    name_or_path : str
        Name on the hub, or a folder.
    device : str

    Returns
    -------
    VisionModelFrames
        With the colour statistics of the image processor, or 0.5 if there is none.

    Raises
    ------
    InputError
        The model cannot be found or read, has custom code or no safetensors, or its configuration
        has no image size.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    source = find_model(name_or_path, function="load_vision_model")
    model = load_weights_of(source)
    if hasattr(model, "qformer"):
        model.language_model = None  # not used
    else:
        model = getattr(model, "vision_model", model)
    try:
        # image processors need extra packages; reading their configuration does not
        colours, _ = ImageProcessingMixin.get_image_processor_dict(str(source.folder))
    except OSError:
        colours = {}
    half = (0.5, 0.5, 0.5)
    mean, std = (tuple(colours.get(k) or half) for k in ("image_mean", "image_std"))
    encoder = VisionModelFrames(model, mean=mean, std=std)
    encoder.revision = source.revision
    if not encoder.size:
        raise InputError(
            f"load_vision_model: '{name_or_path}' must read square images of one size, got no "
            "image_size in its configuration."
        )
    return encoder.to(device)
