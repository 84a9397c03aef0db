"""The script converts a real checkpoint, and the engine writes what Hugging Face writes."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.errors import CheckpointError
from fastbrain.lm import load_llm

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "studies" / "llama2c.py"))
SENTENCE = "The little girl was happy and played in the park with her dog."


@pytest.fixture(scope="module")
def files(request):
    folder = request.getfixturevalue("real_data") / "lm_stories260K"
    if not folder.is_dir():
        pytest.skip("no lm_stories260K among the real data")
    return folder / "stories260K.bin", folder / "tok512.bin"


@pytest.fixture(scope="module")
def stories(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("stories") / "model"
    EXAMPLE["convert"](*files, out)
    return load_llm(str(out))


def test_the_converted_model_is_the_real_one(stories):
    llm, tokenizer = stories
    ids = tokenizer.encode(SENTENCE, add_special_tokens=False)
    assert tokenizer.decode(ids).strip() == SENTENCE
    with torch.no_grad():
        whole = torch.tensor([[1, *ids]])
        logits = llm(whole).logits[0, :-1]
        nats = torch.nn.functional.cross_entropy(logits, whole[0, 1:])
    # a reader of the same file in NumPy gives 1.74
    assert float(nats) == pytest.approx(1.74, abs=0.005)


@pytest.mark.parametrize(
    ("sampling", "options"),
    [
        (Sampling(max_new_tokens=120), {}),
        (Sampling(max_new_tokens=60, repetition_penalty=1.3), {"repetition_penalty": 1.3}),
        (Sampling("beam", max_new_tokens=40, beams=4), {"num_beams": 4}),
    ],
    ids=["greedy", "penalty", "beam"],
)
def test_the_engine_writes_what_hugging_face_writes(stories, sampling, options):
    llm, tokenizer = stories
    engine = DecodeEngine(llm, tokenizer, max_tokens=160)
    prompts = ["Once upon a time, there was a", "Tom and Lily", "The dog"]
    found = engine.generate([engine.embed(p, bos=True) for p in prompts], sampling=sampling)
    for prompt, row in zip(prompts, found.tokens, strict=True):
        embeds = engine.embed(prompt, bos=True)[None]
        said = llm.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]).long(),
            do_sample=False, max_new_tokens=sampling.max_new_tokens, pad_token_id=0, **options,
        )[0].tolist()  # fmt: skip
        assert list(row) == (said[: said.index(2)] if 2 in said else said)


def test_reduced_weights_cost_little(stories):
    nats = EXAMPLE["perplexities"](*stories, f"Once upon a time, there was a cat. {SENTENCE}")
    assert nats["bfloat16"] == pytest.approx(nats["model"], abs=0.01)
    assert nats["int8"] == pytest.approx(nats["model"], abs=0.03)
    assert len(set(nats.values())) == 3


def test_damaged_headers_and_tokenizers_are_refused(tmp_path):
    path = tmp_path / "file.bin"
    for sizes in ([8, 8, 1, 0, 1, 4, 4], [8, 8, 1, 3, 1, 4, 4], [-8, 8, 1, 2, 1, 4, 4]):
        path.write_bytes(np.array(sizes, dtype="<i4").tobytes())
        with pytest.raises(CheckpointError, match="must have sizes above 0"):
            EXAMPLE["read_checkpoint"](path)
    piece = np.array([0.0], dtype="<f4").tobytes() + np.array([3], dtype="<i4").tobytes() + b"cat"
    for cut in (piece, piece + piece[:6], piece + piece[:-1]):
        path.write_bytes(bytes(4) + cut)
        with pytest.raises(CheckpointError, match="must hold 2 pieces, got 1"):
            EXAMPLE["read_tokenizer"](path, 2)


def test_files_that_are_cut_are_refused(files, tmp_path):
    data = files[0].read_bytes()
    for part in (data[:9], data[:-4], data + bytes(4)):
        (tmp_path / "cut.bin").write_bytes(part)
        with pytest.raises(CheckpointError, match="must have"):
            EXAMPLE["read_checkpoint"](tmp_path / "cut.bin")
    assert np.frombuffer(data[:28], "<i4").tolist() == [64, 172, 5, 8, 4, 512, 512]
