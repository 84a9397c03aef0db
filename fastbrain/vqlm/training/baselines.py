"""Baselines that a run of :func:`train_vqlm` trains: on pictures, and on encoder states.

Each writes the predictions of all people to a file of the run folder; :func:`evaluate_vqlm` scores
the test people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._io import write_json
from ..._progress import say
from ...data import RestingStudy
from ..autoencoder import VQAutoencoder
from .allowed_answers import AllowedAnswers
from .config import VQLMConfig
from .encoder_baseline import encoder_predictions
from .image_baseline import image_predictions
from .vlm_baseline import load_vlm, vlm_predictions

# file of the run folder -> name in the table
BASELINE_FILES = {
    "image.json": "image",
    "vlm.json": "vision-language model",
    "encoder.json": "encoder and language model",
}


def write_baselines(
    out: Path,
    study: RestingStudy,
    target: Mapping[str, float] | Mapping[str, str],
    config: VQLMConfig,
    *,
    train: Sequence[str],
    labels: Sequence[str],
    coder: VQAutoencoder,
    load_base: Callable[[], tuple[Any, Any]],
    frames: int,
    window: int,
) -> None:
    """Train the baselines of the configuration that `out` does not have yet.

    Parameters
    ----------
    out : Path
        Run folder.
    study : RestingStudy
    target : mapping of str to float or str
    config : VQLMConfig
    train : sequence of str
        Training people; only their targets are used.
    labels : sequence of str
        Possible labels of the target; empty for a number.
    coder : VQAutoencoder
    load_base : callable
        Loads the initial language model and its tokenizer.
    frames, window : int
        Frames of a picture, and of a window of the autoencoder.
    """
    series = study.series
    asked: dict[str, Any] = {"question": config.question, "rank": config.rank}
    fitted: dict[str, Any] = {"train": train, "seed": config.seed}

    def allowed(tokenizer: Any) -> AllowedAnswers:
        return AllowedAnswers.find(tokenizer, places=config.places, labels=labels)

    def image() -> Any:
        return image_predictions(
            series, target, labels=labels, steps=config.image_steps, frames=frames, **fitted
        )

    def vlm() -> Any:
        model, processor = load_vlm(str(config.vlm), device=str(coder.center.device))
        return vlm_predictions(
            model,
            processor,
            series,
            target,
            answers=allowed(processor.tokenizer),
            frames=frames,
            steps=config.vlm_steps,
            **asked,
            **fitted,
        )

    def encoder() -> Any:
        llm, tokenizer = load_base()
        return encoder_predictions(
            coder,
            llm,
            tokenizer,
            series,
            target,
            answers=allowed(tokenizer),
            frames=window,
            steps=config.encoder_steps,
            **asked,
            **fitted,
        )

    wanted = {
        "image.json": image if config.image_steps else None,
        "vlm.json": vlm if config.vlm else None,
        "encoder.json": encoder if config.encoder_steps else None,
    }
    for name, predictions in wanted.items():
        if predictions is not None and not (out / name).exists():
            say(f"vq-lm: baseline '{BASELINE_FILES[name]}'")
            write_json(out / name, predictions())
