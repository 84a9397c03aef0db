"""What the stages and losses of the training curves are, in a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_STAGES = {
    "pretrain": "the fMRI encoder learns to fill in masked patches of brain windows, without texts",
    "video": "the frozen language model learns to describe clips, without brain data",
    "calibrate": "the projection to the language model is tuned on predictions for training "
    "windows that the readout was not fitted to",
    "warmup": "the vector of each volume approaches the mean word vector of its text or prompt",
    "stage1": "brain windows are aligned with the clips or texts that they belong to",
    "stage2": "the model learns to write the texts of the training windows and, with adaptation, "
    "adapts to windows of new people without their texts",
    "tune": "the model learns to write the texts from the brain and a frozen language model",
    "adapt": "the trained model is fitted to labelled runs of one person",
}
_LOSSES = {
    "loss": "what the stage minimises: the weighted sum of its terms",
    "clip_loss": "contrastive: the window and the clip of one trial must be more similar than "
    "those of different trials; unrelated ones give 2·log(batch size)",
    "l2l1_loss": "distance of a window's vectors from those of its clip, squared and absolute, "
    "summed over all dimensions and therefore large",
    "answer_loss": "minus log likelihood of the true text, nats a token",
    "nc_loss": "neighbourhood clustering: each unlabelled window moves towards a similar window or "
    "a class prototype",
    "es_loss": "entropy separation: class probabilities of an unlabelled window become clearly "
    "certain or clearly uncertain; 0 or below by definition",
    "class_loss": "cross entropy of the class of training windows",
}
_PARTS = (
    "Solid lines, and names without val_: training windows. Dashed, val_: validation windows, "
    "which no weight is fitted to. Validation is higher where a model knows its training windows "
    "better than new ones"
)
_READOUT = (
    "; in stage1 from the start, because its readout was fitted to the training windows and their "
    "clips"
)


def training_terms(
    history: Mapping[str, Sequence[Mapping[str, Any]]],
) -> tuple[list[tuple[str, str]], str]:
    """Describe the stages and losses of a training log.

    Parameters
    ----------
    history : mapping of str to sequence of mapping
        Rows of each training stage.

    Returns
    -------
    list of (str, str)
        Name and meaning of each stage, then of each loss, that the log has.
    str
        How training and validation losses differ; "" without a validation loss.
    """
    stages = [name for name, rows in history.items() if rows]
    terms = dict.fromkeys(
        key for rows in history.values() for row in rows for key, value in row.items()
        if key.endswith("loss") and value is not None
    )  # fmt: skip
    known = [(name, _STAGES[name]) for name in stages if name in _STAGES]
    known += [(name, _LOSSES[name]) for name in terms if name in _LOSSES]
    if not any(name.startswith("val_") for name in terms):
        return known, ""
    return known, _PARTS + (_READOUT if "val_l2l1_loss" in terms else "") + "."
