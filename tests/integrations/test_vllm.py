"""Brain windows as prompt embeddings of vLLM: a stand-in records what it is called with."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from small_run import finished_run, language, language_folder, store  # noqa: F401

from fastbrain.brainllm.controls import BrainLLMDecoder
from fastbrain.brainllm.model import BrainLLM, BrainLLMConfig
from fastbrain.data.store.preparation import save_preparation
from fastbrain.decoding import Sampling, generate
from fastbrain.decoding.opening import Opening
from fastbrain.errors import BackendError, CheckpointError, InputError, MissingPartError
from fastbrain.inference import open_decoder
from fastbrain.integrations.vllm import (
    open_engine,
    prompt_embeds,
    sampling_params,
    write_texts,
)
from fastbrain.lm.end_tokens import end_tokens_of


class StandIn:
    """What an engine of vLLM is called with; it writes with the language model of transformers."""

    def __init__(self, **options):
        self.options, self.language = options, None

    def generate(self, prompts, params, *, use_tqdm):
        assert not use_tqdm
        self.prompts, self.params = prompts, params
        llm, tokenizer = self.language
        texts = []
        for prompt, one in zip(prompts, params, strict=True):
            made = generate(
                llm,
                prompt["prompt_embeds"][None],
                eos_token_id=one.stop_token_ids,
                sampling=Sampling(max_new_tokens=one.max_tokens),
            )
            texts += made.texts(tokenizer)
        return [SimpleNamespace(outputs=[SimpleNamespace(text=f" {t}")]) for t in texts]


@pytest.fixture
def vllm(monkeypatch):
    module = ModuleType("vllm")
    module.LLM = StandIn
    module.SamplingParams = lambda **options: SimpleNamespace(**options)
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


@pytest.fixture(scope="module")
def run(finished_run, store, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("vllm") / "run"
    shutil.copytree(finished_run, folder)
    save_preparation(store, folder)
    return folder


@pytest.fixture
def engine(vllm, run, language):  # noqa: F811
    made = open_engine(run, max_model_len=128)
    made.language = language
    return made


def test_the_engine_runs_the_language_model_of_the_run(engine, run):
    place = str(run / "llm")
    assert engine.options == {
        "model": place, "tokenizer": place, "enable_prompt_embeds": True,
        "trust_remote_code": False, "dtype": "auto", "max_model_len": 128,
        "gpu_memory_utilization": 0.9, "tensor_parallel_size": 1,
    }  # fmt: skip


def test_windows_are_passed_as_embeddings(engine, run, store):  # noqa: F811
    opened = open_decoder(run)
    ids = store.split.test[:5]
    decoder, brains = opened.bind(store, ids)
    found = write_texts(engine, decoder, brains, sampling=Sampling(max_new_tokens=7))
    decoder, brains = opened.bind(store, ids)
    decoder.sampling = Sampling(max_new_tokens=7)
    assert found == decoder.write(decoder.read(brains))
    assert len(engine.prompts) == len(ids)
    width = decoder.model.llm.config.hidden_size
    for prompt in engine.prompts:
        assert list(prompt) == ["prompt_embeds"]
        tensor = prompt["prompt_embeds"]
        assert tensor.ndim == 2
        assert tensor.shape[1] == width
        assert tensor.dtype == torch.float32
        assert tensor.device.type == "cpu"
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
    ends = end_tokens_of(decoder.model.text_tokenizer, decoder.model.llm)
    assert {tuple(one.stop_token_ids) for one in engine.params} == {tuple(ends)}


def test_texts_to_continue_have_no_padding(engine, language):  # noqa: F811
    llm, tokenizer = language
    torch.manual_seed(0)
    model = BrainLLM(BrainLLMConfig(features=4, frames=2), llm=llm, text_tokenizer=tokenizer)
    prompts = ("what is there ?", "it is", "a ball")
    decoder = BrainLLMDecoder(model, prompts=prompts, sampling=Sampling(max_new_tokens=5))
    windows = torch.randn(3, 2, 4)
    found = write_texts(engine, decoder, windows, sampling=Sampling(max_new_tokens=5))
    assert found == decoder.write(decoder.read(windows))
    assert len({len(prompt["prompt_embeds"]) for prompt in engine.prompts}) > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_shared_tokens_come_first_in_the_precision_of_the_model(language, dtype):  # noqa: F811
    llm = copy.deepcopy(language[0]).to(dtype)
    words = llm.get_input_embeddings()
    width = words.weight.shape[1]
    embeds = torch.randn(2, 3, width)
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]], dtype=torch.bool)
    made = prompt_embeds(Opening(embeds, mask, prompt_ids=torch.tensor([4, 2])), llm)
    assert [p["prompt_embeds"].shape for p in made] == [(4, width), (5, width)]
    assert made[0]["prompt_embeds"].dtype == dtype
    assert torch.equal(made[0]["prompt_embeds"][:2], words.weight[[4, 2]])
    assert torch.equal(made[0]["prompt_embeds"][2:], embeds[0, 1:].to(dtype))


def test_sampling_is_mapped(vllm):
    drawn = Sampling(
        method="sample", max_new_tokens=9, min_new_tokens=2, temperature=0.7, top_p=0.8,
        min_p=0.05, seed=3,
    )  # fmt: skip
    first, second = sampling_params(drawn, [1, 2], rows=2)
    assert vars(first) == {
        "temperature": 0.7, "top_p": 0.8, "min_p": 0.05, "max_tokens": 9, "min_tokens": 2,
        "stop_token_ids": [1, 2], "ignore_eos": False, "skip_special_tokens": True, "seed": 3,
    }  # fmt: skip
    assert vars(second) == {**vars(first), "seed": 4}
    (greedy,) = sampling_params(None, None, rows=1)
    assert vars(greedy) == {
        "temperature": 0.0, "max_tokens": 32, "min_tokens": 0, "stop_token_ids": None,
        "ignore_eos": True, "skip_special_tokens": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (Sampling(method="beam"), "must be greedy or sample with vLLM, got 'beam'"),
        (Sampling(repetition_penalty=1.2), "repetition_penalty must be 1 with vLLM"),
    ],
)
def test_what_vllm_cannot_do_is_refused_before_work(engine, run, store, sampling, words):  # noqa: F811
    decoder, _ = open_decoder(run).bind(store, store.split.test[:2])
    with pytest.raises(InputError, match=words):
        write_texts(engine, decoder, None, sampling=sampling)


def test_steering_and_empty_rows_are_refused(language):  # noqa: F811
    llm = language[0]
    embeds = torch.zeros(1, 2, llm.config.hidden_size)
    with pytest.raises(BackendError, match="no bias of logits"):
        prompt_embeds(Opening(embeds, logit_bias=torch.zeros(1, 5)), llm)
    with pytest.raises(InputError, match="row 0 must hold embeddings, got none"):
        prompt_embeds(Opening(embeds, torch.zeros(1, 2, dtype=torch.bool)), llm)
    with pytest.raises(InputError, match="not finite"):
        prompt_embeds(Opening(embeds / 0), llm)
    with pytest.raises(InputError, match="must have read, opening and model, got object"):
        write_texts(None, object(), None)


def test_a_run_that_vllm_would_run_otherwise_is_refused(vllm, run, tmp_path):
    tuned = tmp_path / "tuned"
    shutil.copytree(run, tuned)
    (tuned / "model" / "adapter").mkdir()
    with pytest.raises(BackendError, match="the run tuned it"):
        open_engine(tuned)
    few = tmp_path / "few"
    shutil.copytree(run, few)
    path = few / "model" / "config.json"
    described = json.loads(path.read_text())
    described["card"]["llm_bits"] = 4
    path.write_text(json.dumps(described))
    with pytest.raises(BackendError, match="quantised to 4 bits"):
        open_engine(few)
    path.write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_engine(few)


def test_its_extra_is_named_where_it_is_missing(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingPartError, match=r"pip install 'fastbrain-fmri\[vllm\]'"):
        open_engine(run)
    with pytest.raises(MissingPartError, match="vllm"):
        sampling_params(replace(Sampling(), max_new_tokens=2), None, rows=1)
