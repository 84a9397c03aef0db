"""Choose the decoder of a run: the run as it was trained, or a sentence decoder kept in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from .._arguments import checked
from ..data import VoxelStore
from ..decoding import Sampling
from ..errors import InputError
from .open_decoder import RunDecoder, open_decoder
from .sentence_runs import kept_decoder, open_kept_decoder

Opener: TypeAlias = Callable[[Path, VoxelStore], RunDecoder]


@checked
def opener_of(
    decoder: str | Path | None,
    *,
    sampling: Sampling | None,
    unknown_subject: str | None,
    device: str,
    engine: bool,
    llm: str | None,
    encoder: str | None,
    seed: int | None,
    function: str,
) -> Opener:
    """Return a function that maps a run folder of one grid and its preparation to its decoder.

    Parameters
    ----------
    decoder : str, Path or None
        Name of a sentence decoder in the run, folder of one, or None for the run as it was trained.
    sampling, unknown_subject, device, engine, llm, encoder, seed
        As in :func:`fastbrain.pipeline`.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    InputError
        An option is of another decoder.
    """
    if decoder is None:
        if encoder is not None:
            raise InputError(
                f"{function}: encoder must come with a sentence decoder, got {encoder!r} without "
                "one. Leave it out."
            )

        def trained(run: Path, like: VoxelStore) -> RunDecoder:
            return open_decoder(
                run, like=like, sampling=sampling, unknown_subject=unknown_subject, device=device,
                engine=engine, llm=llm,
            )  # fmt: skip

        return trained
    given = {"sampling": sampling, "unknown_subject": unknown_subject, "engine": engine or None}
    if spare := [name for name, value in given.items() if value is not None]:
        raise InputError(
            f"{function}: {spare[0]} must be left out for a sentence decoder, which has settings "
            "of its own to write, got a value."
        )

    def kept(run: Path, like: VoxelStore) -> RunDecoder:
        folder = (
            kept_decoder(run, decoder, function=function) if isinstance(decoder, str) else decoder
        )
        return open_kept_decoder(
            run, folder, like=like, llm=llm, encoder=encoder, device=device, seed=seed
        )

    return kept
