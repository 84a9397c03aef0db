"""
Vector quantisation in an existing autoencoder
==============================================

A convolutional autoencoder of time series gets a discrete bottleneck: nearest code,
straight-through gradient, moving average of the codes, replacement of codes that are hardly used.
"""

# %%
# Encoder and decoder, as they might come from another project. They know nothing of codes.
import torch
from torch import nn

import fastbrain as fb

torch.manual_seed(0)
encode = nn.Conv1d(12, 16, 4, stride=4)
decode = nn.ConvTranspose1d(16, 12, 4, stride=4)


# %%
# The bottleneck. The codebook is three tensors that ``vq_init`` makes by k-means.
class Quantizer(nn.Module):
    def __init__(self, rows, codes):
        super().__init__()
        self.state = fb.vq_init(rows, codes, generator=torch.Generator().manual_seed(0))

    def forward(self, x):  # (B, T, D)
        index = fb.vq_lookup(x.detach(), self.state.codebook)
        code = self.state.codebook[index]
        if self.training:
            fb.vq_update_(self.state, x.detach(), index, decay=0.9)
            fb.vq_replace_dead_(self.state, x.detach(), threshold=0.5)
        return x + (code - x).detach(), index, (x - code).square().mean()


# %%
# Series of 12 regions that mix 3 networks. A segment of 4 volumes becomes one of 64 codes, and the
# codebook is made from the training series alone.
networks = torch.randn(64, 3, 80).cumsum(-1) / 4
series = torch.randn(12, 3) @ networks + 0.1 * torch.randn(64, 12, 80)
series -= series.mean(-1, keepdim=True)
train, test = series[:48], series[48:]
quantize = Quantizer(encode(train).detach().mT, codes=64)
optimizer = torch.optim.AdamW([*encode.parameters(), *decode.parameters()], lr=3e-3)
for _ in range(150):
    code, _, commitment = quantize(encode(train).mT)
    loss = (decode(code.mT) - train).square().mean() + 0.25 * commitment
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# Series that were not used for training: the variance that 20 codes a series explain.
with torch.no_grad():
    code, index, _ = quantize.eval()(encode(test).mT)
    explained = 1 - (decode(code.mT) - test).square().mean() / test.square().mean()
print(f"{index.unique().numel()} of 64 codes used, explained variance {explained:.2f}")
assert explained > 0.5
