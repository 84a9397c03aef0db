"""
The kernels alone, in a model of your own
=========================================

The ops are functions of tensors. Here the voxel tokenizer is the first layer of a classifier that
knows nothing else of fastbrain: it reads raw int16 volumes and normalises inside the kernel.
"""

# %%
# Windows of 3 volumes with a mask. Class 1 has 1 % more signal in one corner of the brain.
import numpy as np
import torch

import fastbrain as fb

torch.manual_seed(0)
mask = np.ones((16, 20, 16), dtype=bool)  # z, y, x
mask[12:, 15:] = False
grid = fb.TokenGrid.from_mask(mask, (4, 4, 4))
labels = torch.arange(64) % 2
psc = torch.randn(64, 3, 16, 20, 16)  # percent signal change
psc[labels == 1, :, :8, :8, :8] += 1.0
volumes = (psc / 0.005).round().clamp(-32767, 32767).to(torch.int16)


# %%
# An ordinary module. ``fb.tokenize_voxels`` reads only the patches inside the mask, and gives
# gradients to weight and bias.
class Classifier(torch.nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.weight = torch.nn.Parameter(0.02 * torch.randn(width, 3, 4, 4, 4))
        self.bias = torch.nn.Parameter(torch.zeros(width))
        self.head = torch.nn.Linear(width, 2)

    def forward(self, volumes):  # (B, 3, Z, Y, X) int16
        tokens = fb.tokenize_voxels(volumes, self.weight, self.bias, grid=grid, scale=0.005)
        return self.head(torch.nn.functional.gelu(tokens).mean(1))  # (B, 2)


model = Classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for _ in range(30):
    loss = torch.nn.functional.cross_entropy(model(volumes[:48]), labels[:48])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# Which backend runs here, how far it is from the plain PyTorch reference, and accuracy on windows
# that were not used for training (chance is 0.5).
print(fb.explain("tokenize_voxels", volumes, model.weight, grid=grid, scale=0.005))
with torch.no_grad():
    logits = model(volumes[48:])
    with fb.backend("reference"):
        torch.testing.assert_close(logits, model(volumes[48:]), rtol=1e-4, atol=1e-4)
accuracy = (logits.argmax(1) == labels[48:]).float().mean().item()
print(f"accuracy on new windows: {accuracy:.2f}")
assert accuracy > 0.8
