"""Train a small causal language model on frozen word vectors of a sentence encoder.

A corpus of a few thousand words is too small to learn which words are related. The input and output
embeddings are therefore those of a sentence encoder and stay frozen; only the layers between them
and the output bias are trained on the corpus.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._arguments import checked
from .._progress import say
from ..errors import InputError
from .sources import find_model, load_tokenizer, load_weights_of

if TYPE_CHECKING:
    from torch import Tensor

_SMOOTHING = 0.02  # added to the count of every word, for words outside the corpus
_UNSEEN = 2048  # words outside the corpus sampled as negatives in each step


@checked(least={"depth": 1, "heads": 1, "steps": 0, "batch_size": 1})
def vector_llm(
    corpus: Sequence[str],
    held_out: Sequence[str],
    *,
    encoder: str,
    depth: int = 1,
    heads: int = 6,
    dropout: float = 0.3,
    steps: int = 200,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Train a small causal language model on a corpus.

    Parameters
    ----------
    corpus : sequence of str
        Sentences of the training part.
    held_out : sequence of str
        Other sentences of the training part, from other passages; they choose the weights to keep.
    encoder : str
        Folder of a BERT-like sentence encoder that provides vocabulary and input embeddings.
    depth, heads : int
        Sizes of the Phi architecture; its output bias starts at the log corpus frequencies.
    dropout : float
        In [0, 1).
    steps, batch_size : int
    lr : float
    seed : int
        The held-out loss is computed every 25 steps, and the best weights are kept.

    Returns
    -------
    model : PreTrainedModel
        Frozen, in evaluation mode.
    tokenizer : PreTrainedTokenizer

    Raises
    ------
    InputError
        A corpus is empty, `dropout` is out of range, or the encoder cannot be read, contains custom
        code or has no safetensors.
    """
    import torch

    if not corpus or not held_out:
        raise InputError(
            f"vector_llm: corpus and held_out must hold sentences, got {len(corpus)} and "
            f"{len(held_out)}."
        )
    if not 0 <= dropout < 1:
        raise InputError(f"vector_llm: dropout must be in [0, 1), got {dropout}.")
    tokenizer, vectors = _taken(encoder)
    rows, others = (
        [
            [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
            for text in part
        ]
        for part in (corpus, held_out)
    )
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        model = _built(tokenizer, vectors, rows, depth, heads, dropout)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=0.05)
        seen = torch.tensor(sorted({token for row in rows for token in row}))
        unseen = torch.ones(len(vectors), dtype=torch.bool)
        unseen[seen] = False
        unseen_ids = unseen.nonzero()[:, 0]
        best, kept = float("inf"), {}
        for step in range(steps + 1):
            if step % 25 == 0:
                nll = _held_out_nll(model, others, tokenizer)
                if nll < best:
                    best, kept = nll, {k: v.clone() for k, v in model.state_dict().items()}
            drawn = unseen_ids[torch.randperm(len(unseen_ids))[:_UNSEEN]]
            # sampled softmax: the drawn words are weighted to represent all unseen words
            weight = torch.zeros(len(seen) + len(drawn))
            weight[len(seen) :] = math.log(len(unseen_ids) / max(1, len(drawn)))
            chosen = torch.randint(len(rows), (batch_size,)).tolist()
            rate = min(1.0, (step + 1) / 25)
            optimiser.param_groups[0]["lr"] = lr * rate
            hidden, labels = _read(model, [rows[i] for i in chosen], tokenizer)
            words = torch.cat([seen, drawn])
            logits = hidden @ model.lm_head.weight[words].T + model.lm_head.bias[words] + weight
            # every label is a corpus word, so its class is its position in `seen`
            loss = torch.nn.functional.cross_entropy(logits, torch.searchsorted(seen, labels))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
    model.load_state_dict(kept)
    say(f"small language model: {best:.2f} nats a token of held-out sentences")
    return model.eval().requires_grad_(False), tokenizer


def _taken(encoder: str) -> tuple[Any, Tensor]:
    """Tokenizer with BOS and EOS, and centred word vectors (V, d) of unit length."""
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    found = find_model(encoder, function="vector_llm")
    source = load_tokenizer(found)
    table = load_weights_of(found).get_input_embeddings().weight.detach()
    core = json.loads(source.backend_tokenizer.to_str())
    core["post_processor"] = None
    core["truncation"] = core["padding"] = None
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(core)),
        pad_token=source.pad_token,
        bos_token=source.cls_token,
        eos_token=source.sep_token,
        unk_token=source.unk_token,
    )
    centred = table.float() - table.float().mean(dim=0)
    return tokenizer, torch.nn.functional.normalize(centred, dim=1)


def _built(
    tokenizer: Any, vectors: Tensor, rows: list[list[int]], depth: int, heads: int, dropout: float
) -> Any:
    import torch
    from transformers import PhiConfig, PhiForCausalLM

    config = PhiConfig(
        vocab_size=len(vectors),
        hidden_size=vectors.shape[1],
        intermediate_size=2 * vectors.shape[1],
        num_hidden_layers=depth,
        num_attention_heads=heads,
        max_position_embeddings=max(256, 2 * max(map(len, rows))),
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attention_dropout=dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    model: Any = PhiForCausalLM(config)
    counts = (
        torch.bincount(
            torch.tensor([token for row in rows for token in row]), minlength=len(vectors)
        )
        + _SMOOTHING
    )
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(vectors)
        model.lm_head.bias.copy_((counts / counts.sum()).log())
        # small initial states let the bias dominate: predictions start near corpus frequencies
        model.model.final_layernorm.weight.fill_(0.1)
    model.get_input_embeddings().weight.requires_grad_(False)
    return model


def _read(model: Any, rows: list[list[int]], tokenizer: Any) -> tuple[Tensor, Tensor]:
    """Last hidden states (tokens, d) and the token that follows each, (tokens,)."""
    import torch

    ids = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([tokenizer.bos_token_id, *row]) for row in rows],
        batch_first=True,
        padding_value=-1,
    )
    counted = ids[:, 1:] >= 0
    # padding is at the end, where causal attention ignores it
    hidden = model.model(input_ids=ids[:, :-1].clamp_min(0), use_cache=False).last_hidden_state
    return hidden[counted], ids[:, 1:][counted]


def _held_out_nll(model: Any, rows: list[list[int]], tokenizer: Any) -> float:
    import torch

    model.eval()
    with torch.no_grad():
        total, tokens = 0.0, 0
        for start in range(0, len(rows), 16):
            hidden, labels = _read(model, rows[start : start + 16], tokenizer)
            loss = torch.nn.functional.cross_entropy(model.lm_head(hidden), labels, reduction="sum")
            total, tokens = total + float(loss), tokens + len(labels)
    model.train()
    return total / tokens
