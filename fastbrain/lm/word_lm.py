"""Train a language model in seconds, for demos, tests and machines without a GPU.

When frozen, it takes the place of a large LLM: it models the language of a corpus and is steered by
a prefix. Training teaches it to use a prefix: most training sequences follow some of their own
words in random order, at the position of the later brain prefix.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._arguments import checked
from .._io import cache_folder, folder_atomic
from ..errors import CheckpointError, InputError, OutputExistsError
from ..nn.saved_folder import check_seal, seal
from .sources import quiet

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 2
SMALL_DIM = 64  # width of the language model
_DEPTH, _HEADS = 2, 4
_SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


_LEAST = {"depth": 1, "heads": 1, "steps": 0, "batch_size": 1, "slots": 1, "context": 1}


@checked(least=_LEAST)
def small_llm(
    corpus: Sequence[str],
    *,
    cache_dir: str | Path | None = None,
    dim: int = SMALL_DIM,
    depth: int = _DEPTH,
    heads: int = _HEADS,
    steps: int = 300,
    batch_size: int = 32,
    slots: int = 32,
    context: int = 256,
    seed: int = 0,
) -> Path:
    """Train a word-level tokenizer and a small Llama on a corpus, or find them in the cache.

    Parameters
    ----------
    corpus : sequence of str
        Complete sequences: prompt words followed by answer words. BOS and EOS are added.
    cache_dir : str or Path, optional
        Default ``$FASTBRAIN_CACHE``, else ``~/.cache/fastbrain``.
    dim, depth, heads : int
        Size of the Llama; `dim` is a multiple of ``2 · heads``.
    steps, batch_size : int
        Length of training; 300 steps of 32 take about ten seconds on one core.
    slots : int
        Maximum number of words placed before a training text; the length of the brain prefix.
    context : int
        Least number of positions. They are relative (RoPE), so that sequences may be longer than
        the training texts.
    seed : int

    Returns
    -------
    Path
        A folder that :func:`load_llm` reads. The same corpus and sizes give the same folder.

    Raises
    ------
    InputError
        The corpus is empty or contains an empty text, or a size is out of range.
    """
    corpus = [" ".join(text.split()) for text in corpus]
    if not corpus or not all(corpus):
        raise InputError("small_llm: corpus must hold non-empty texts, got an empty one or none.")
    if dim < 1 or dim % (2 * heads):
        raise InputError(
            f"small_llm: dim must be a multiple of {2 * heads}, twice the number of heads, got "
            f"{dim}."
        )
    recipe = {"version": _VERSION, "dim": dim, "depth": depth, "heads": heads, "steps": steps}
    recipe |= {"batch_size": batch_size, "slots": slots, "seed": seed}
    recipe["context"] = context
    key = hashlib.sha256(json.dumps([recipe, corpus]).encode()).hexdigest()[:20]
    folder = Path(cache_dir or cache_folder()) / f"small-llm-{key}"
    if _is_whole(folder):
        return folder
    tokenizer = word_tokenizer(corpus)
    model = _train(corpus, tokenizer, recipe)
    try:
        with folder_atomic(folder, replace=folder.exists()) as temporary:
            with quiet():
                model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            seal(temporary)
    except (OutputExistsError, OSError):
        # another process may have written the same model in the meantime
        if not _is_whole(folder):
            raise
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        check_seal(folder)
    except CheckpointError:
        return False
    return True


def word_tokenizer(corpus: Sequence[str]) -> Any:
    """Build a transformers tokenizer with one token per word and punctuation mark of a corpus.

    Parameters
    ----------
    corpus : sequence of str

    Returns
    -------
    PreTrainedTokenizerFast
        It has tokens for padding, BOS, EOS and unknown words.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Whitespace()
    words = sorted({w for text in corpus for w, _ in split.pre_tokenize_str(text)})
    core = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate([*_SPECIAL, *words])}, unk_token="<unk>")
    )
    core.pre_tokenizer = split
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # "squash ." -> "squash."
    pad, bos, eos, unk = _SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=pad, bos_token=bos, eos_token=eos, unk_token=unk
    )


def empty_small_llm(words: int, *, context: int) -> Any:
    """Build a small language model of the default size without memory for its weights.

    Parameters
    ----------
    words : int
        Size of the vocabulary.
    context : int
        Most tokens of a sequence.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=words,
                max_position_embeddings=context,
                **_sizes(SMALL_DIM, _DEPTH, _HEADS),
            )
        )


def _sizes(dim: int, depth: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": dim,
        "intermediate_size": 2 * dim,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "tie_word_embeddings": True,
    }


def _train(corpus: Sequence[str], tokenizer: Any, recipe: dict[str, int]) -> Any:
    import torch
    import torch.nn.functional as F
    from transformers import LlamaConfig, LlamaForCausalLM

    rows = [tokenizer.encode(text, add_special_tokens=False) for text in corpus]
    longest = max(map(len, rows))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **_sizes(recipe["dim"], recipe["depth"], recipe["heads"]),
        max_position_embeddings=max(recipe["context"], 2 * (recipe["slots"] + longest)),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # the usual 0.02 is for wide models; here it delays the use of context by hundreds of steps
        initializer_range=0.1,
    )
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(recipe["seed"])
        model = LlamaForCausalLM(config).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
        counts = Counter(token for row in rows for token in row)
        for step in range(recipe["steps"]):
            rate = min(1.0, (step + 1) / 20) * max(0.05, 1 - step / recipe["steps"])
            optimiser.param_groups[0]["lr"] = 3e-3 * rate
            chosen = torch.randint(len(rows), (recipe["batch_size"],)).tolist()
            ids, labels = _batch([rows[i] for i in chosen], counts, tokenizer, recipe["slots"])
            embeds = _faded(model.get_input_embeddings()(ids), labels)
            logits = model(inputs_embeds=embeds).logits  # causal: padding at the end is ignored
            loss = F.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
    return model.eval()


def _faded(embeds: Tensor, labels: Tensor) -> Tensor:
    """Scale down each prefix word at random and add noise, to imitate a noisy brain prefix."""
    import torch

    before = (labels == -100)[:, :, None]
    before[:, 0] = False  # BOS
    scale = embeds.detach().square().mean().sqrt()
    strength = torch.rand(*embeds.shape[:2], 1)
    noise = torch.rand(len(embeds), 1, 1) * scale * torch.randn_like(embeds)
    return torch.where(before, strength * embeds + noise, embeds)


def _batch(
    rows: list[list[int]], counts: Counter[int], tokenizer: Any, slots: int
) -> tuple[Tensor, Tensor]:
    """Ids and labels; 75 % of the rows are prefixed with hint words drawn from the row."""
    import torch

    sequences = []
    for i, row in enumerate(rows):
        hints = torch.zeros(0, dtype=torch.int64)
        if i % 4:
            n = int(torch.randint(1, slots + 1, ()))
            # rare words identify a text better than articles and prompt words
            weight = torch.tensor([1 / counts[token] for token in row])
            hints = torch.tensor(row)[torch.multinomial(weight, n, replacement=True)]
        text = torch.tensor([*row, tokenizer.eos_token_id])
        before = torch.cat([torch.tensor([tokenizer.bos_token_id]), hints])
        sequences.append(
            (torch.cat([before, text]), torch.cat([torch.full_like(before, -100), text]))
        )
    ids, labels = (
        torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=pad)
        for parts, pad in zip(
            zip(*sequences, strict=True), (tokenizer.pad_token_id, -100), strict=True
        )
    )
    return ids, labels
