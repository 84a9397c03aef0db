"""
A head of your own on a voxel store
===================================

``WindowLoader`` yields batches of int16 windows, and the split of the store says what may be used
for training. Here a linear layer learns which object was seen.
"""

# %%
# Two simulated people with six runs, of which four train, one validates and one is the test part.
import tempfile
from pathlib import Path

import torch

import fastbrain as fb

folder = tempfile.TemporaryDirectory()
work = Path(folder.name)
design = fb.CohortDesign(subjects=2, runs=6, trials=30, snr=0.1, resolution_mm=8)
store = fb.prepare_store(
    fb.read_runs_table(fb.simulate_cohort(work / "bids", design)),
    work / "store",
    window=fb.WindowSpec(delay_s=4.0, window_trs=2),
    kernel=(4, 4, 4),
    split=lambda trials: fb.split_folds(trials, "run", folds=6)[5],
)

# %%
# A window is (frames, tokens, voxels). A stored value times ``store.scale`` is in percent signal
# change; mean and spread of each voxel are those of the training windows. The frames are averaged.
OBJECTS = ("ball", "book", "chair", "guitar", "cake", "box")
mean, inv_std = map(torch.from_numpy, (store.mean, store.inv_std))


def batches(trials, **options):
    for batch in fb.WindowLoader(store, trials, batch_size=32, **options):
        voxels = (batch.voxels.float() * store.scale - mean) * inv_std  # (B, F, tokens, P)
        y = torch.tensor([OBJECTS.index(text.split()[4]) for text in batch.texts])
        yield voxels.mean(1).flatten(1), y


# %%
# The head. Whatever is chosen, for instance the number of epochs, is chosen on the part ``val``.
torch.manual_seed(0)
head = torch.nn.Linear(mean.numel(), len(OBJECTS))
optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1.0)
for epoch in range(10):
    for x, y in batches(store.split.train, shuffle=True, seed=epoch):
        loss = torch.nn.functional.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# %%
# Accuracy on the test runs. Chance is 1/6.
right = torch.cat([head(x).argmax(1) == y for x, y in batches(store.split.test, shuffle=False)])
print(f"accuracy {right.float().mean():.2f} on {len(right)} windows")
assert right.float().mean() > 1 / 6
