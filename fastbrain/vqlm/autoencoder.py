"""VQ autoencoder of brain activity: transformer encoder, quantiser, two decoders.

::

    series (R, T) ─ scale ─ patches ─ encoder ─ features ─ tanh head ─ codes ─┬─ decoder ─▶ signal
                                                  │                           └─ decoder ─▶ |rFFT|
                                                  └─ to_text ─▶ domain classifier (alignment.py)

The architecture is that of NeuroLM (Jiang et al. 2024, arXiv 2409.00101, section 2.1), applied to
time series of brain regions. A token is one patch of frames of one region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..nn.blocks import Block, init_trunk
from ..nn.positions import as_floats, brain_positions
from .config import VQAutoencoderConfig
from .quantiser import Quantised, blank, make_quantiser


@dataclass(frozen=True)
class Reconstruction:
    """Output of the autoencoder for a batch, in scaled units.

    Parameters
    ----------
    target, signal : Tensor, (B, R, P, patch)
        The scaled series and its reconstruction.
    amplitude : Tensor, (B, R, P, patch // 2 + 1), or None
        Reconstructed amplitude spectrum of each patch.
    features : Tensor, (B, R, P, dim)
        Features of the encoder before projection and quantisation.
    quantised : Quantised
        Quantised vectors (B, R, P, D).
    mask : Tensor, (B, R, P) bool, or None
    """

    target: Tensor
    signal: Tensor
    amplitude: Tensor | None
    features: Tensor
    quantised: Quantised
    mask: Tensor | None

    def losses(self) -> dict[str, Tensor]:
        """Mean squared errors over unmasked tokens: "signal", "spectrum", "commitment"."""
        losses = {"signal": self._error(self.signal, self.target)}
        if self.amplitude is not None:
            losses["spectrum"] = self._error(self.amplitude, amplitude(self.target))
        return losses | {"commitment": self.quantised.commitment}

    def _error(self, found: Tensor, truth: Tensor) -> Tensor:
        error = (found.float() - truth).square().mean(dim=-1)
        if self.mask is None:
            return error.mean()
        return torch.where(self.mask, error, 0.0).sum() / self.mask.sum().clamp_min(1)


class VQAutoencoder(nn.Module):
    """Autoencoder of region series with a discrete latent code.

    Parameters
    ----------
    config : VQAutoencoderConfig
    center, spread : array_like, (R,) float
        Center and scale of each region, fitted on training runs
        (:class:`fastbrain.data.SeriesScaler`); saved with the weights.
    centers_mm : array_like, (R, 3) float, optional
        Coordinates of each region. Default: a learned position embedding for each region.

    Attributes
    ----------
    to_text : Linear, Identity or None
        Map from the features to the width of a language model, trained with the domain classifier;
        the identity if both have the same width, None without a `text_dim`.
    """

    center: Tensor
    spread: Tensor
    places: Tensor
    region_code: Tensor

    def __init__(
        self,
        config: VQAutoencoderConfig,
        *,
        center: npt.ArrayLike | Tensor,
        spread: npt.ArrayLike | Tensor,
        centers_mm: npt.ArrayLike | Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        scale = {"center": center, "spread": spread}
        for name, value in scale.items():
            numbers = as_floats(value, torch.float32)
            if numbers.shape != (config.regions,) or not bool(numbers.isfinite().all()):
                raise InputError(
                    f"VQAutoencoder: {name} must be finite, ({config.regions},), got "
                    f"{tuple(numbers.shape)}. Fit a SeriesScaler on the training runs."
                )
            self.register_buffer(name, numbers)
        if not bool((self.spread > 0).all()):
            raise InputError("VQAutoencoder: spread must be positive in every region.")
        self.regions: nn.Parameter | None = None
        if centers_mm is None:
            self.regions = nn.Parameter(torch.empty(config.regions, config.dim).normal_(std=0.02))
            self.register_buffer("places", torch.zeros(0, 3))
        else:
            self.register_buffer("places", as_floats(centers_mm, torch.float32))
            code = brain_positions(self.places, config.dim)
            if len(code) != config.regions:
                raise InputError(
                    f"VQAutoencoder: centers_mm must be ({config.regions}, 3), got {len(code)} "
                    "rows."
                )
            self.register_buffer("region_code", code, persistent=False)
        self.embed = nn.Linear(config.patch, config.dim)
        self.blocks = _blocks(config, config.depth)
        self.norm = nn.LayerNorm(config.dim)
        width = config.quantiser.width
        self.narrow = nn.Sequential(
            nn.Linear(config.dim, config.dim), nn.Tanh(), nn.Linear(config.dim, width)
        )
        self.quantiser = make_quantiser(config.quantiser)
        self.signal = _Decoder(config, config.patch)
        self.spectrum = _Decoder(config, config.patch // 2 + 1) if config.spectrum else None
        init_trunk(self)
        self.to_text: nn.Linear | nn.Identity | None = None
        if config.text_dim is not None:
            self.map_to_text(config.text_dim)

    def forward(self, series: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """Encode, quantise and decode.

        Parameters
        ----------
        series : Tensor, (B, R, T) float
            In the units in which the scale was fitted; T is a multiple of the patch.
        mask : Tensor, (B, R, P) bool, optional
            True for valid patches; values of the other patches are ignored.

        Returns
        -------
        Reconstruction

        Raises
        ------
        InputError
            Shapes do not match, a valid patch is not finite, or the codebook is not initialised.
        """
        patches = self.patches(series, mask)
        return self.restore(patches, self.encode(patches, mask), mask)

    def map_to_text(self, width: int) -> None:
        """Add the map `to_text` from features to `width`, unless the model has it.

        Raises
        ------
        InputError
            The model has a map to another width.
        """
        if self.to_text is not None and self.config.text_dim != width:
            raise InputError(
                f"VQAutoencoder: text must have the width {self.config.text_dim} that the features "
                f"are mapped to, got {width}. Use the language model of its training."
            )
        if self.to_text is None:
            dim, where = self.config.dim, self.center.device
            self.to_text = nn.Identity() if dim == width else nn.Linear(dim, width, device=where)
            self.config = replace(self.config, text_dim=width)

    def patches(self, series: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scale `series` (B, R, T) and cut it into patches (B, R, P, patch), zero where masked."""
        config = self.config
        shape = tuple(series.shape)
        if len(shape) != 3 or shape[1] != config.regions or shape[2] % config.patch or not shape[2]:
            raise InputError(
                f"VQAutoencoder: series must be (B, {config.regions}, T) with T a multiple of "
                f"{config.patch}, got {shape}. Pad the last frames, and mask their patches."
            )
        scaled = (series - self.center[:, None]) / self.spread[:, None]
        patches = scaled.to(self.center.dtype).unflatten(-1, (-1, config.patch))
        if mask is not None and (mask.dtype != torch.bool or mask.shape != patches.shape[:3]):
            raise InputError(
                f"VQAutoencoder: mask must be bool {tuple(patches.shape[:3])}, got {mask.dtype} "
                f"{tuple(mask.shape)}."
            )
        return blank(patches, mask)

    def encode(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode scaled patches (B, R, P, patch) to features (B, R, P, dim)."""
        x = self.embed(patches) + self._positions(patches.shape[2])
        return self.norm(_through(self.blocks, x, mask))

    def restore(
        self, patches: Tensor, features: Tensor, mask: Tensor | None = None
    ) -> Reconstruction:
        """Quantise and decode the features (B, R, P, dim) of scaled patches."""
        quantised = self.quantiser(self.narrow(features), mask)
        signal, spectrum = self._decode(quantised.values, mask)
        return Reconstruction(patches, signal, spectrum, features, quantised, mask)

    def codes(self, series: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode `series` (B, R, T) to codes (B, R, P) int64; -1 where masked."""
        features = self.encode(self.patches(series, mask), mask)
        return self.quantiser(self.narrow(features), mask).indices

    def decode(self, indices: Tensor) -> Tensor:
        """Decode codes (B, R, P) to series (B, R, T) in the units of the input; -1 is masked."""
        mask = indices >= 0
        values = blank(self.quantiser.values_of(indices), mask)
        signal = self._decode(values, None if bool(mask.all()) else mask)[0]
        return signal.flatten(2) * self.spread[:, None] + self.center[:, None]

    def _decode(self, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        places = self._positions(values.shape[2])
        signal = self.signal(values, places, mask)
        return signal, None if self.spectrum is None else self.spectrum(values, places, mask)

    def _positions(self, steps: int) -> Tensor:
        """Position embedding of region and time step, (R, P, dim)."""
        where = self.region_code if self.regions is None else self.regions
        return where[:, None] + time_code(steps, self.config.dim).to(where)


class _Decoder(nn.Module):
    """Transformer decoder from code vectors to the values of each patch."""

    def __init__(self, config: VQAutoencoderConfig, numbers: int) -> None:
        super().__init__()
        self.widen = nn.Linear(config.quantiser.width, config.dim)
        self.blocks = _blocks(config, config.decoder_depth)
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, numbers)

    def forward(self, values: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        """Map `values` (B, R, P, D) to (B, R, P, numbers)."""
        x = self.widen(values) + places
        return self.head(self.norm(_through(self.blocks, x, mask)))


def _blocks(config: VQAutoencoderConfig, depth: int) -> nn.ModuleList:
    return nn.ModuleList(
        Block(config.dim, config.heads, mlp_ratio=config.mlp_ratio, dropout=config.dropout)
        for _ in range(depth)
    )


def _through(blocks: nn.ModuleList, x: Tensor, mask: Tensor | None) -> Tensor:
    """Apply the blocks to all tokens of a sample; masked tokens are not attended to."""
    shape = x.shape
    x = x.flatten(1, 2)
    allowed = None
    if mask is not None:
        flat = mask.flatten(1)
        # a masked token attends to itself, so that its row of the mask is not empty
        allowed = (flat[:, None] | torch.eye(flat.shape[1], device=x.device).bool())[:, None]
    for block in blocks:
        x = block(x, mask=allowed)
    return x.reshape(shape)


def time_code(steps: int, dim: int) -> Tensor:
    """Sine-cosine code of the patch number (Vaswani et al. 2017, section 3.5), (steps, dim)."""
    half = dim // 2
    rate = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
    angle = torch.arange(steps)[:, None] * rate
    return F.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, dim - 2 * half))


def amplitude(patches: Tensor) -> Tensor:
    """Amplitude spectrum (..., patch // 2 + 1) with orthonormal scaling."""
    return torch.fft.rfft(patches.float(), norm="ortho").abs()
