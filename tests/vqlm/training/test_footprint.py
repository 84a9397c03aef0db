"""What a dry run says is what training has: parameters, sequences and, roughly, memory."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastbrain.cli import main
from fastbrain.errors import InputError
from fastbrain.lm.code_vocabulary import extend_vocabulary
from fastbrain.lm.word_lm import word_tokenizer
from fastbrain.vqlm import VQAutoencoder
from fastbrain.vqlm.training import vq_preset
from fastbrain.vqlm.training.config import VQLMConfig
from fastbrain.vqlm.training.footprint import StudySize, footprint

SIZE = StudySize(train=11, val=3, test=6, regions=5, frames=107, tr=2.0)


def numbers(text):
    return [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\d|\d", text)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llm")
    tokenizer = word_tokenizer(["how old is this person ? 0 1 2 3 4 5 6 7 8 9"])
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **sizes,
        num_attention_heads=2,
        max_position_embeddings=300,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_parameters_and_sequences_are_those_of_training(llama):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from fastbrain.vqlm.training.language import adapted

    config = VQLMConfig(llm=str(llama), rank=3, steps=7)
    told = footprint(config, SIZE)
    sizes, _ = vq_preset("fastbrain-small", regions=5)
    model = VQAutoencoder(sizes, center=np.zeros(5), spread=np.ones(5))
    parameters = sum(p.numel() for p in model.parameters())
    # 107 frames are 21 patches of 5, in windows of 8 patches
    assert numbers(told["autoencoder"]) == [parameters, 11 * 3, 20, 16]
    assert numbers(told["codes"])[0] == 5 * 21
    llm = AutoModelForCausalLM.from_pretrained(llama)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    own = sum(p.numel() for p in llm.parameters())
    vocabulary = extend_vocabulary(llm, tokenizer, 64)
    tuned = adapted(llm, vocabulary, 3, seed=0)
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert numbers(told["language model"].split(": ", 1)[1]) == [own, 66 * 16, trained]
    # codes, two marks, six words of the question, two digits
    assert numbers(told["sequence"])[0] == 5 * 7 + 2 + 6 + 2


def test_a_sequence_that_does_not_fit_is_refused(llama):
    with pytest.raises(InputError, match="300 tokens, got 1010"):
        footprint(VQLMConfig(llm=str(llama), steps=200), SIZE)


@pytest.mark.parametrize("depth", [2, 6])
def test_activations_are_about_those_that_autograd_keeps(llama, depth):
    sizes, stage = vq_preset("fastbrain-small", regions=5)
    sizes = replace(sizes, depth=depth, dim=128)
    kept = set()

    def pack(x):
        kept.add((x.data_ptr(), x.numel() * x.element_size()))
        return x

    torch.manual_seed(0)
    model = VQAutoencoder(sizes, center=np.zeros(5), spread=np.ones(5))
    series = torch.randn(stage.batch_size, 5, stage.frames)
    model.quantiser.start(torch.randn(500, 16))
    weights = {p.data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        model(series).losses()["signal"].backward()
    measured = sum(size for place, size in kept if place not in weights)
    from fastbrain.vqlm.training import footprint as module

    settings = module.coder_settings(VQLMConfig(llm=str(llama)), regions=5)
    settings = replace(settings, sizes=sizes)
    said = module._coder(settings, SIZE, 1e9)["coder memory"]
    estimate = numbers(said)[-1] * 2**20
    assert estimate / 2 < measured < estimate * 2


def test_a_dry_run_writes_nothing(llama, tmp_path, capsys):
    where = [str(tmp_path / "study"), str(tmp_path / "run")]
    small = ["--simulate", "20", "--dry-run"]
    assert main(["train", "vq-lm", *where, *small]) == 0
    assert "12 regions x 24 steps" in capsys.readouterr().out
    assert main(["train", "vq-lm", *where, "--preset", "poster", "--dry-run"]) == 1
    assert "--llm" in capsys.readouterr().err
    # at the size of the poster, without a study; the context of the model is too short for it
    poster = ["--preset", "poster", "--llm", str(llama), "--dry-run"]
    assert main(["train", "vq-lm", *where, *poster]) == 1
    assert "300 tokens, got 4250" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
