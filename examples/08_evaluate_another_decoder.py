"""
Controls for the decoder of another project
===========================================

``run_controls`` needs six methods of a decoder, which is here a few lines of NumPy.
"""

# %%
# Brain features of six topics in eight runs of 20 trials; the last two are the test part.
import numpy as np
from scipy.special import log_softmax

from fastbrain.evaluation import Sample, evaluate_text, run_controls
from fastbrain.stats import derangements

rng = np.random.default_rng(0)
topic = rng.integers(6, size=160)
seen = np.array([f"a {('dog', 'cat', 'cow', 'pig', 'hen', 'bee')[i]} near a house" for i in topic])
brains = rng.standard_normal((6, 30))[topic] + rng.standard_normal((160, 30))
blocks = ["7"] * 20 + ["8"] * 20  # runs of the test part


# %%
# The decoder: the mean training brain of each sentence, and a softmax of the distances to them.
class CentroidDecoder:
    def __init__(self, x, said):
        self.texts = sorted(set(said))
        self.means = np.stack([x[said == text].mean(0) for text in self.texts])

    def read(self, x):  # (N, D) -> log probability of each sentence (N, K)
        return log_softmax(-((x[:, None] - self.means) ** 2).mean(-1), axis=1)

    def read_nothing(self):  # without a brain all are equally likely
        return np.full((1, len(self.texts)), -np.log(len(self.texts)))

    def write(self, prefixes):
        return [self.texts[i] for i in prefixes.argmax(1)]

    def score(self, prefixes, texts, pairs):  # nats of (brain, text) pairs
        return -np.array([prefixes[i, self.texts.index(texts[j])] for i, j in pairs])

    def features(self, prefixes):  # to find the nearest training brain
        return prefixes

    def untuned(self):  # no language model was tuned
        return None


# %%
# Controls: the brains of another run, no brain, noise. BLEU is high without any skill.
decoder, truth = CentroidDecoder(brains[:120], seen[:120]), seen[120:].tolist()
inputs = {"true brain": brains[120:], "noise brain": rng.standard_normal((40, 30))}
conditions = run_controls(decoder, inputs, truth, derangements(blocks), blocks=blocks)
said = conditions["true brain"].texts
rows = [Sample(str(i), "01", blocks[i], truth[i], said[i]) for i in range(len(truth))]
result = evaluate_text(rows, conditions, bert=False)
for score in map(result.score, ("pairwise", "bleu1", "words_two_way")):
    print(f"{score.metric}: {score.value:.2f}, chance {score.chance:.2f}, p {score.p:.3f}")
assert result.score("pairwise").value > 0.5
