"""Convert a checkpoint of llama2.c into a Hugging Face folder and write a story with the engine.

    python studies/llama2c.py stories260K.bin tok512.bin --out stories260K [--tokens 200]

The two files are in the folder ``stories260K`` of ``karpathy/tinyllamas`` on the Hugging Face hub:
a real language model of 260 thousand parameters, trained on short stories in simple English. The
folder that is written is read by ``fastbrain.lm.load_llm`` and by ``AutoModelForCausalLM``. Printed
are the story, tokens per second of the engine and of ``generate`` of Hugging Face, and what reduced
weights cost in perplexity on that story.
"""

from __future__ import annotations

import argparse
import math
import struct
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from fastbrain._io import folder_atomic
from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.errors import CheckpointError, FastbrainError
from fastbrain.lm import load_llm

PROMPT = "Once upon a time, there was a"


def main() -> None:
    """Convert, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    convert(args.checkpoint, args.tokenizer, args.out)
    llm, tokenizer = load_llm(str(args.out))
    engine = DecodeEngine(llm, tokenizer, max_tokens=args.tokens + 32)
    print(PROMPT, end="", flush=True)
    found = engine.generate(
        [engine.embed(PROMPT, bos=True)],
        sampling=Sampling(max_new_tokens=args.tokens),
        on_token=lambda event: print(event.text, end="", flush=True),
    )
    count = len(found.tokens[0])
    after = (count - 1) / max(found.total_s - found.first_token_s, 1e-9)
    print(f"\n\nengine: {after:.0f} tokens/s after {1000 * found.first_token_s:.1f} ms")
    print(f"Hugging Face: {_hugging_face(llm, tokenizer, args.tokens):.0f} tokens/s in all")
    for weights, nats in perplexities(llm, tokenizer, found.texts(tokenizer)[0]).items():
        print(f"{weights}: {nats:.4f} nats a token, perplexity {math.exp(nats):.3f}")


def convert(checkpoint: Path, vocabulary: Path, out: Path) -> None:
    """Write the weights (version 0 of the format) and the tokenizer as a Hugging Face folder."""
    config, tensors = read_checkpoint(checkpoint)
    tokenizer = read_tokenizer(vocabulary, config["vocab_size"])
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**config))
    missing, unexpected = model.load_state_dict(
        {name: torch.tensor(value) for name, value in tensors.items()}, strict=False
    )
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise CheckpointError(
            f"convert: {checkpoint} must hold every weight, got none of {missing} and too many: "
            f"{unexpected}. Is it a llama2.c checkpoint of version 0?"
        )
    with folder_atomic(out) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read sizes and weights, named as in transformers."""
    data = path.read_bytes()
    if len(data) < 28:
        raise CheckpointError(f"read_checkpoint: {path} must have a header, got {len(data)} bytes.")
    width, hidden, depth, heads, key_heads, words, context = struct.unpack("<7i", data[:28])
    if min(width, hidden, depth, heads, key_heads, abs(words), context) < 1 or width % heads:
        raise CheckpointError(
            f"read_checkpoint: {path} must have sizes above 0 in its header and a width that heads "
            f"divide, got {struct.unpack('<7i', data[:28])}. Is it a llama2.c checkpoint?"
        )
    tied, words, head = words > 0, abs(words), width // heads
    keys = key_heads * head
    shapes = {
        "embed": (words, width), "norm1": (depth, width), "q": (depth, width, width),
        "k": (depth, keys, width), "v": (depth, keys, width), "o": (depth, width, width),
        "norm2": (depth, width), "gate": (depth, hidden, width), "down": (depth, width, hidden),
        "up": (depth, hidden, width), "norm": (width,), "cosines": (context, head // 2),
        "sines": (context, head // 2), **({} if tied else {"head": (words, width)}),
    }  # fmt: skip
    sizes = [math.prod(shape) for shape in shapes.values()]
    if len(data) != 28 + 4 * sum(sizes):
        raise CheckpointError(
            f"read_checkpoint: {path} must have {28 + 4 * sum(sizes)} bytes by its header, got "
            f"{len(data)}."
        )
    starts = 28 + 4 * np.cumsum([0, *sizes])
    raw = {
        name: np.frombuffer(data, "<f4", size, int(start)).reshape(shape)
        for (name, shape), size, start in zip(shapes.items(), sizes, starts, strict=False)
    }

    def halves(weight: np.ndarray, count: int) -> np.ndarray:
        # llama2.c rotates neighbouring numbers, transformers the two halves of a head
        return weight.reshape(count, head // 2, 2, width).swapaxes(1, 2).reshape(weight.shape)

    found = {"model.embed_tokens.weight": raw["embed"], "model.norm.weight": raw["norm"]}
    found["lm_head.weight"] = raw["embed"] if tied else raw["head"]
    for i in range(depth):
        at = f"model.layers.{i}."
        found |= {
            f"{at}input_layernorm.weight": raw["norm1"][i],
            f"{at}post_attention_layernorm.weight": raw["norm2"][i],
            f"{at}self_attn.q_proj.weight": halves(raw["q"][i], heads),
            f"{at}self_attn.k_proj.weight": halves(raw["k"][i], key_heads),
            f"{at}self_attn.v_proj.weight": raw["v"][i],
            f"{at}self_attn.o_proj.weight": raw["o"][i],
            f"{at}mlp.gate_proj.weight": raw["gate"][i],
            f"{at}mlp.up_proj.weight": raw["up"][i],
            f"{at}mlp.down_proj.weight": raw["down"][i],
        }
    config = {
        "hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": depth,
        "num_attention_heads": heads, "num_key_value_heads": key_heads, "vocab_size": words,
        "max_position_embeddings": context, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied,
        "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    return config, found


def read_tokenizer(path: Path, words: int) -> Any:
    """Read pieces and scores as a byte-pair encoding of transformers."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    data, pieces, scores, at = path.read_bytes(), [], [], 4
    for _ in range(words):
        score, length = struct.unpack("<fi", data[at : at + 8].ljust(8, b"\xff"))
        if not 0 <= length <= len(data) - at - 8:
            raise CheckpointError(
                f"read_tokenizer: {path} must hold {words} pieces, got {len(pieces)}."
            )
        pieces.append(data[at + 8 : at + 8 + length].decode().replace(" ", "▁"))
        scores.append(score)
        at += 8 + length
    pieces[:3] = ["<unk>", "<s>", "</s>"]
    place = {piece: i for i, piece in enumerate(pieces)}
    # a higher score is merged first
    order = sorted(range(259, words), key=lambda i: -scores[i])
    merges = [
        (pieces[i][:cut], pieces[i][cut:])
        for i in order
        for cut in range(1, len(pieces[i]))
        if pieces[i][:cut] in place and pieces[i][cut:] in place
    ]
    core = Tokenizer(models.BPE(place, merges, unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def perplexities(llm: Any, tokenizer: Any, text: str) -> dict[str, float]:
    """Nats a token of a text, read token by token, with the weights of each kind."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    found = {}
    for weights in ("model", "bfloat16", "int8"):
        engine = DecodeEngine(llm, tokenizer, max_tokens=len(ids) + 1, weights=weights)
        found[weights] = engine.text_nll(ids)
    return found


def _hugging_face(llm: Any, tokenizer: Any, tokens: int) -> float:
    ids = torch.tensor([[1, *tokenizer.encode(PROMPT, add_special_tokens=False)]])
    start = perf_counter()
    with torch.no_grad():
        said = llm.generate(ids, do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    return (said.shape[1] - ids.shape[1]) / (perf_counter() - start)


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None
