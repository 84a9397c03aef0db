"""Vision models of transformers as frozen frame encoders."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from .._arguments import checked
from ..errors import InputError
from ..lm.sources import find_model, load_weights_of

# a configuration says where it was read and by which version; weights say their own dtype
_ASIDE = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")


class VisionModelFrames(nn.Module):
    """Any transformers vision model as a frozen frame encoder.

    Parameters
    ----------
    model : PreTrainedModel
        Takes `pixel_values` (N, 3, H, W) and returns `last_hidden_state` (N, patches, d). Where it
        has an image Q-Former (BLIP-2, as in Video-LLaMA), that reads each frame, and its queries
        stand for the patches.
    mean, std : tuple of 3 float
        Colour statistics of its image processor.

    Attributes
    ----------
    dim : int
        Width of its tokens.
    size : int
        Side of the frames it reads, pixels; 0 where it takes any.
    revision : str
        Commit on the hub that it was loaded from; empty for a folder.
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
        """Hash of all that decides its tokens: every weight, configuration, colour statistics."""
        config = {k: v for k, v in self.model.config.to_dict().items() if k not in _ASIDE}
        told = [type(self.model).__name__, config, self.mean.tolist(), self.std.tolist()]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
        for name, value in sorted(self.model.state_dict().items()):
            whole = value.detach().cpu().contiguous()
            digest.update(f"{name} {whole.dtype} {tuple(whole.shape)}".encode())
            digest.update(whole.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


@checked
def from_vision_model(model: Any, *, processor: Any = None) -> VisionModelFrames:
    """Wrap a transformers vision model; colour statistics come from its image processor.

    Parameters
    ----------
    model : PreTrainedModel
    processor : image processor, optional
        Its `image_mean` and `image_std` are used; default 0.5.

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
    """Load a vision model (ViT, DINO, CLIP, SigLIP, BLIP-2's, ...) as a frozen frame encoder.

    Of a model of images and texts, the vision model is taken, with an image Q-Former where there is
    one. Nothing is fetched when `HF_HUB_OFFLINE` is set. A model that brings code of its own is
    refused, and so are weights that are not safetensors.

    Parameters
    ----------
    name_or_path : str
        Name on the hub, or a folder.
    device : str

    Returns
    -------
    VisionModelFrames
        With the colour statistics of its image processor, 0.5 where it has none.

    Raises
    ------
    InputError
        It cannot be found or read, is refused, or reads no images of one size.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    source = find_model(name_or_path, function="load_vision_model")
    model = load_weights_of(source)
    if hasattr(model, "qformer"):
        model.language_model = None  # nobody asks it anything
    else:
        model = getattr(model, "vision_model", model)
    try:
        # the processors themselves need packages for images; their numbers do not
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
