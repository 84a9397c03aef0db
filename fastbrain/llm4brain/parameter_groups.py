"""Training groups of the parameters of LLM4Brain.

=================  ================================================================
tokenizer          3-D convolution over voxels
subjects           entries of the subject table, if the model has one
encoder            SC-MBM without its adapters
encoder_adapters   low-rank adapters of SC-MBM
bridge             encoder tokens to Q-Former context: the paper's adapter "that
                   bridges the encoders and the LLM"
readout            linear readout of all tokens, and the gate of the Q-Former latents
qformer            Q-Former without its adapters, shared with the video branch
qformer_adapters   low-rank adapters of the Q-Former, fMRI branch only
projection         latents to the LLM's embeddings, shared with the video branch
video              built-in frame encoder, or the frame position codes of an external one
vision             external frame encoder; always frozen
prototypes         class head g
temperature        log of the contrastive temperature
llm_adapters       LoRA on the language model, if the run has it
llm                the language model; always frozen
=================  ================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from ..errors import ConfigError
from ..lm.lora import is_adapter
from ..nn.config_io import suggest
from ..nn.layers import Adapter

Groups = dict[str, list[tuple[str, nn.Parameter]]]

NAMES = (
    "tokenizer",
    "subjects",
    "encoder",
    "encoder_adapters",
    "bridge",
    "readout",
    "qformer",
    "qformer_adapters",
    "projection",
    "video",
    "vision",
    "prototypes",
    "temperature",
    "llm_adapters",
    "llm",
)


def parameter_groups(model: nn.Module) -> Groups:
    """Assign every parameter of a model to exactly one group.

    Parameters
    ----------
    model : LLM4Brain

    Returns
    -------
    dict of str to list of (name, Parameter)
        One key for each of :data:`NAMES`; the list is empty if the model lacks the part.
    """
    groups: Groups = {name: [] for name in NAMES}
    low_rank = {id(p) for m in model.modules() if isinstance(m, Adapter) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        group = name.split(".", 1)[0]
        group = {"log_tau": "temperature", "frame_place": "video"}.get(group, group)
        group = "vision" if model.external_video and name.startswith("video.") else group
        lora = group == "llm" and is_adapter(name)
        group = f"{group}_adapters" if lora or id(parameter) in low_rank else group
        groups[group].append((name, parameter))
    return groups


def set_trainable(
    model: nn.Module, groups: Sequence[str], *, frozen: Collection[str] = ("llm",)
) -> list[str]:
    """Train `groups` and freeze all others.

    Parameters
    ----------
    model : LLM4Brain
    groups : sequence of str
        Keys of :func:`parameter_groups`.
    frozen : collection of str
        Groups that must not train.

    Returns
    -------
    list of str
        Names of the trainable parameters.

    Raises
    ------
    ConfigError
        A group is unknown, has no parameters in this model, or must stay frozen.
    """
    known = parameter_groups(model)
    for group in groups:
        if group not in known:
            raise ConfigError(
                f"set_trainable: groups must not hold '{group}'.{suggest(group, known)}"
            )
        if group in frozen:
            raise ConfigError(f"set_trainable: '{group}' must stay frozen. Leave it out.")
        if not known[group]:
            raise ConfigError(
                f"set_trainable: '{group}' must have parameters, got none in this model."
            )
    trained = []
    for group, parameters in known.items():
        for name, parameter in parameters:
            parameter.requires_grad_(group in groups)
            if group in groups:
                trained.append(name)
    return trained
