"""A language model that keeps an encoder's word vectors and learns its corpus."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain.errors import InputError
from fastbrain.lm import vector_llm

WORDS = ["dog", "cat", "runs", "sleeps", "the", "a", "sea"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(vocabulary), intermediate_size=16, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


def nll(llm, text):
    model, tokenizer = llm
    ids = [tokenizer.bos_token_id, *tokenizer.encode(text), tokenizer.eos_token_id]
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]])).logits[0]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:])))


def test_learns_sentences_and_keeps_vectors(encoder):
    from transformers import AutoModel

    corpus = ["The dog runs", "the cat sleeps"] * 4
    before = torch.get_rng_state()
    llm = vector_llm(corpus, corpus[:2], encoder=str(encoder), heads=2, steps=150, lr=1e-2)
    assert torch.equal(torch.get_rng_state(), before)
    table = AutoModel.from_pretrained(encoder).get_input_embeddings().weight.detach()
    centred = table - table.mean(dim=0)
    unit = centred / centred.norm(dim=1, keepdim=True)
    torch.testing.assert_close(llm[0].get_input_embeddings().weight, unit)
    assert not any(p.requires_grad for p in llm[0].parameters())
    assert nll(llm, "the dog runs") < 0.6  # ln 2 / 4 = 0.17 is what the corpus leaves open
    # a word that it has never read is possible, and a sentence in another order is not
    assert np.isfinite(nll(llm, "the sea runs"))
    assert nll(llm, "runs dog the") > 1.5
    assert nll(llm, "the sea sleeps") > nll(llm, "the cat sleeps")
    assert llm[1].decode(llm[1].encode("The dog")) == "the dog"


def test_refusals(encoder):
    with pytest.raises(InputError, match="must hold sentences, got 1 and 0"):
        vector_llm(["the dog"], [], encoder=str(encoder))
