"""Texts of many brain windows with vLLM, which gets them as prompt embeddings.

vLLM runs on its own copy of the language model: fastbrain computes what stands before each text
(brain and question) and passes it on. Nothing listens: this is vLLM's class for offline use.

>>> from fastbrain.inference import open_decoder
>>> from fastbrain.integrations.vllm import open_engine, write_texts  # doctest: +SKIP
>>> opened = open_decoder("runs/first", device="cuda")  # doctest: +SKIP
>>> decoder, brains = opened.bind(store, store.split.test)  # doctest: +SKIP
>>> texts = write_texts(open_engine("runs/first"), decoder, brains)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .._arguments import checked
from .._rules import record_of
from .._runfiles import model_folder, read_manifest, read_record
from ..decoding import Sampling
from ..decoding.opening import Opening
from ..errors import BackendError, InputError, MissingPartError
from ..lm.end_tokens import end_tokens_of
from ..lm.kept_llm import LLMRecord, find_llm

__all__ = ["open_engine", "prompt_embeds", "sampling_params", "write_texts"]


@checked(least={"tensor_parallel_size": 1})
def open_engine(
    run: str | Path,
    *,
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto",
    max_model_len: int | None = None,
    gpu_memory_utilization: float = 0.9,
    tensor_parallel_size: int = 1,
) -> Any:
    """Open the language model of a run in vLLM, for prompt embeddings.

    Parameters
    ----------
    run : str or Path
        Run folder of LLM4Brain or BrainLLM.
    dtype, max_model_len, gpu_memory_utilization, tensor_parallel_size
        As in ``vllm.LLM``.

    Returns
    -------
    vllm.LLM

    Raises
    ------
    MissingPartError
        vLLM is not installed.
    BackendError
        The language model of the run was tuned, was quantised on loading, or is a GGUF file: vLLM
        would run another one.
    CheckpointError
        The run is not finished, or its language model is not there as it was at training.
    """
    manifest = read_manifest(run, function="open_engine")
    if "language_model" not in manifest:
        raise BackendError(
            f"open_engine: {run} must record its language model, got a run of an earlier version. "
            "Open vllm.LLM(model, enable_prompt_embeds=True) yourself."
        )
    reason = _reason_against(Path(run))
    place = find_llm(LLMRecord(**manifest["language_model"]), run)
    if place.is_file():
        reason = "it is a GGUF file, which fastbrain dequantises on loading"
    if reason:
        raise BackendError(
            f"open_engine: vLLM must run the language model as {run} does, which it cannot: "
            f"{reason}. Use fastbrain.decode."
        )
    return _vllm().LLM(
        model=str(place),
        tokenizer=str(place),
        enable_prompt_embeds=True,
        trust_remote_code=False,
        dtype=dtype,
        max_model_len=max_model_len,
        gpu_memory_utilization=gpu_memory_utilization,
        tensor_parallel_size=tensor_parallel_size,
    )


@checked
@torch.no_grad()
def write_texts(
    engine: Any, decoder: Any, brains: Any, *, sampling: Sampling | None = None
) -> list[str]:
    """Write the free-running text of every brain window with vLLM.

    Parameters
    ----------
    engine : vllm.LLM
        From :func:`open_engine`.
    decoder : LLM4BrainDecoder or BrainLLMDecoder
        From ``open_decoder(run).bind(store, trial_ids)``; of LLM4Brain, with one question for all.
    brains : as the decoder reads them
    sampling : Sampling, optional
        Greedy or sample. Default: greedy, at most 32 tokens.

    Returns
    -------
    list of str, (N,)

    Raises
    ------
    InputError
        The decoder writes without embeddings, `sampling` is not possible with vLLM, or vLLM
        returns another number of texts.
    BackendError
        The decoder steers logits by a bias for each window, which vLLM has no place for.
    """
    if not all(hasattr(decoder, name) for name in ("read", "opening", "model")):
        raise InputError(
            "write_texts: decoder must have read, opening and model, got "
            f"{type(decoder).__name__}. open_decoder(run).bind(store, trials) returns one."
        )
    model = decoder.model
    ends = end_tokens_of(model.text_tokenizer, model.llm)
    sampling_params(sampling, ends, rows=1)  # what vLLM cannot do is refused before any work
    opening = decoder.opening(decoder.read(brains))
    prompts = prompt_embeds(opening, model.llm)
    params = sampling_params(sampling, ends, rows=len(prompts))
    outputs = engine.generate(prompts, params, use_tqdm=False)
    if len(outputs) != len(prompts):
        raise InputError(
            f"write_texts: engine must return a text for each of {len(prompts)} prompts, got "
            f"{len(outputs)}. Is it vllm.LLM?"
        )
    return [output.outputs[0].text.strip() for output in outputs]


@checked
def prompt_embeds(opening: Opening, llm: Any) -> list[dict[str, Tensor]]:
    """Turn what stands before the texts into prompts of vLLM, without padding.

    Parameters
    ----------
    opening : Opening
        Of N rows.
    llm : PreTrainedModel
        For the embeddings of tokens that all rows share, and its precision.

    Returns
    -------
    list of dict, (N,)
        ``{"prompt_embeds": tensor}``, each (S_n, d) on the CPU in the precision of the language
        model.

    Raises
    ------
    BackendError
        The opening has a bias of logits.
    InputError
        A row is empty or not finite.
    """
    if opening.logit_bias is not None:
        raise BackendError(
            "prompt_embeds: vLLM must need no bias of logits, got a decoder that steers by one. "
            "Use fastbrain.decode."
        )
    words = llm.get_input_embeddings()
    shared = words.weight.new_zeros(0, words.weight.shape[1])
    if opening.prompt_ids is not None:
        shared = words(opening.prompt_ids)
    prompts = []
    for i, row in enumerate(opening.embeds):
        own = row if opening.mask is None else row[opening.mask[i].bool()]
        whole = torch.cat([shared, own.to(shared.dtype)])
        if not len(whole) or not bool(torch.isfinite(whole).all()):
            found = "values that are not finite" if len(whole) else "none"
            raise InputError(f"prompt_embeds: row {i} must hold embeddings, got {found}.")
        # vLLM sends prompts to another process, from memory of the CPU
        prompts.append({"prompt_embeds": whole.detach().cpu().contiguous()})
    return prompts


@checked
def sampling_params(sampling: Sampling | None, ends: list[int] | None, *, rows: int) -> list[Any]:
    """Map :class:`fastbrain.decoding.Sampling` to parameters of vLLM, one object a row.

    Rows draw by seeds that follow each other, so that equal prompts do not give equal texts. The
    drawn texts are not those of :func:`fastbrain.generate` for the same seed.

    Parameters
    ----------
    sampling : Sampling or None
    ends : list of int or None
        Tokens that end a text; None: every text has its full length.
    rows : int

    Returns
    -------
    list of vllm.SamplingParams

    Raises
    ------
    InputError
        The method is beam, or repetition is penalised: vLLM counts the tokens of the prompt, and a
        prompt of embeddings has none.
    MissingPartError
        vLLM is not installed.
    """
    given = Sampling() if sampling is None else sampling
    if given.method == "beam":
        raise InputError(
            "sampling_params: method must be greedy or sample with vLLM, got 'beam', which it does "
            "not do for embeddings. Use fastbrain.decode."
        )
    if given.repetition_penalty != 1.0:
        raise InputError(
            "sampling_params: repetition_penalty must be 1 with vLLM, which counts tokens of the "
            f"prompt, got {given.repetition_penalty}. Use fastbrain.decode."
        )
    drawn: dict[str, Any] = {"temperature": 0.0}
    if given.method == "sample":
        drawn = {"temperature": given.temperature, "top_p": given.top_p, "min_p": given.min_p}
    options = {
        **drawn,
        "max_tokens": given.max_new_tokens,
        "min_tokens": given.min_new_tokens,
        "stop_token_ids": ends,
        "ignore_eos": ends is None,
        "skip_special_tokens": True,
    }
    kind = _vllm().SamplingParams
    if given.method == "greedy":
        return [kind(**options) for _ in range(rows)]
    return [kind(**options, seed=given.seed + i) for i in range(rows)]


def _reason_against(run: Path) -> str:
    """Why vLLM cannot run the language model of a run; "" if it can."""
    folder = model_folder(run)
    if (folder / "adapter").is_dir():
        return "the run tuned it, and its adapter is merged on loading"
    described = read_record(
        folder / "config.json", {}, optional={"card": record_of({})}, function="open_engine"
    )
    card = described.get("card", {})
    if card.get("llm_bits") is not None:
        return f"it was quantised to {card['llm_bits']} bits on loading"
    return ""


def _vllm() -> Any:
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise MissingPartError("vllm: needs vLLM. pip install 'fastbrain-fmri[vllm]'") from error
