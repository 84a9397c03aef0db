"""Build an encoder from a class that the user names, in place of SC-MBM.

The class is called as ``Class(tokens=N, dim=D, steps=W, centers_mm=C, **arguments)``: N tokens of
width D in each of W steps, and their centres (x, y, z) in mm, a float64 array (N, 3). It is a
``torch.nn.Module`` that maps tokens (B, W · N, D) to (B, M, E), with attributes ``out_tokens`` = M
and ``out_dim`` = E.

Code is imported only if the user has named the class in this process; a file never suffices.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._arguments import checked
from ..errors import CheckpointError, ConfigError
from ..nn.config_io import require

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_trusted: set[str] = set()


@checked(error=ConfigError)
@dataclass(frozen=True)
class CustomEncoder:
    """Class of an encoder, by name.

    Parameters
    ----------
    name : str
        ``package.module:Class``.
    arguments : dict
        JSON values, further keyword arguments of the class.
    source : str
        sha256 of the file of the class; empty until it is first built.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        named = _NAME.fullmatch(self.name) is not None
        require(self, "name", named, "be 'package.module:Class'")
        try:
            json.dumps(self.arguments, allow_nan=False)
            plain = all(isinstance(key, str) for key in self.arguments)
        except (TypeError, ValueError):
            plain = False
        require(self, "arguments", plain, "be JSON values by name")


@checked
def trust_encoder(name: str) -> None:
    """Allow the import of a class in this process, so that runs that name it can be opened.

    Parameters
    ----------
    name : str
        ``package.module:Class``. Importing it runs its code: read it first.

    Raises
    ------
    ConfigError
        It is not such a name.
    """
    _trusted.add(CustomEncoder(name).name)


def pinned(custom: CustomEncoder) -> CustomEncoder:
    """Return a copy with the digest of the source of the class.

    Raises
    ------
    ConfigError
        The user has not named the class, or it cannot be imported.
    CheckpointError
        The source differs from that of training.
    """
    return replace(custom, source=_source(custom)[1])


def build_encoder(custom: CustomEncoder, *, dim: int, steps: int, centers_mm: Tensor) -> nn.Module:
    """Build a custom encoder, and check it on two windows of random tokens.

    Parameters
    ----------
    custom : CustomEncoder
    dim, steps : int
        Width of the tokens, and steps of a window.
    centers_mm : Tensor, (n_tokens, 3) float64

    Raises
    ------
    ConfigError
        The class is not named by the user, cannot be imported or built, or does not keep to the
        protocol.
    CheckpointError
        The source of the class differs from that of training.
    """
    kind, _ = _source(custom)
    n = len(centers_mm)
    places = centers_mm.detach().cpu().numpy().astype("float64")
    try:
        module = kind(tokens=n, dim=dim, steps=steps, centers_mm=places, **custom.arguments)
    except Exception as error:  # of any type: it is the user's code
        raise _refusal(
            custom,
            "be built from tokens, dim, steps, centers_mm and its arguments",
            f"{type(error).__name__}: {error}",
        ) from error
    if not isinstance(module, nn.Module):
        raise _refusal(custom, "be a torch.nn.Module", type(module).__name__)
    for name in ("out_tokens", "out_dim"):
        value = getattr(module, name, None)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _refusal(custom, f"have a positive integer {name}", repr(value))
    _try_out(custom, module, (2, steps * n, dim))
    return module


def _try_out(custom: CustomEncoder, module: nn.Module, shape: tuple[int, ...]) -> None:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        tokens = torch.randn(shape, requires_grad=True)
        try:
            out = module.train()(tokens)
        except Exception as error:  # of any type: it is the user's code
            raise _refusal(
                custom, f"map tokens {shape}", f"{type(error).__name__}: {error}"
            ) from error
        wanted: Any = (2, module.out_tokens, module.out_dim)
        if not isinstance(out, Tensor) or tuple(out.shape) != wanted:
            found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise _refusal(custom, f"return (2, out_tokens, out_dim) = {wanted}", str(found))
        if not out.dtype.is_floating_point or not bool(out.isfinite().all()):
            raise _refusal(custom, "return finite floats", f"{out.dtype} or NaN")
        own = [p for p in module.parameters() if p.requires_grad]
        if not out.requires_grad:
            raise _refusal(custom, "pass gradients to its tokens", "none")
        # random weights, for the sum of a normalised output has no gradient
        target = (out * torch.randn_like(out)).sum()
        grads = torch.autograd.grad(target, [tokens, *own], allow_unused=True)
    if grads[0] is None or not bool(grads[0].isfinite().all()) or not bool(grads[0].any()):
        raise _refusal(custom, "pass finite gradients to its tokens", "none, zero or NaN")
    if any(g is not None and not bool(g.isfinite().all()) for g in grads[1:]):
        raise _refusal(custom, "have finite gradients of its parameters", "NaN or infinity")
    if own and all(g is None for g in grads[1:]):
        raise _refusal(custom, "use its parameters", "no gradient of any")


def _source(custom: CustomEncoder) -> tuple[Any, str]:
    """Import the class, and compute the digest of its file."""
    if custom.name not in _trusted:
        raise ConfigError(
            f"custom encoder: '{custom.name}' must be named by you before its code is run, got it "
            f"from a file alone. Read the code, then pass --encoder {custom.name} to train, "
            f"--trust-encoder {custom.name} to evaluate and decode, or call "
            "fastbrain.llm4brain.trust_encoder in Python."
        )
    path, _, name = custom.name.partition(":")
    try:
        kind = getattr(importlib.import_module(path), name)
        file = inspect.getsourcefile(kind)
        digest = hashlib.sha256(Path(str(file)).read_bytes()).hexdigest()
    except Exception as error:  # of any type: importing runs the user's code
        raise _refusal(
            custom,
            "be a class of a Python file that can be imported (is it installed, or on PYTHONPATH?)",
            f"{type(error).__name__}: {error}",
        ) from error
    if custom.source and custom.source != digest:
        raise CheckpointError(
            f"custom encoder: the source of '{custom.name}' must be that of training (sha256 "
            f"{custom.source[:12]}), got {file} with {digest[:12]}. Put the version of training on "
            "PYTHONPATH, or train again."
        )
    return kind, digest


def refused_on_grids(custom: CustomEncoder, *, function: str) -> ConfigError:
    """Make the error for an encoder of the user in a model of several grids."""
    return ConfigError(
        f"{function}: encoder must be the built-in one for several grids, got {custom.name!r}: its "
        "tokens may differ between grids. Prepare all runs on a common grid (--resample)."
    )


def _refusal(custom: CustomEncoder, contract: str, got: str) -> ConfigError:
    return ConfigError(
        f"custom encoder: '{custom.name}' must {contract}, got {' '.join(got.split())[:300]}. "
        "See docs/llm4brain.md."
    )
