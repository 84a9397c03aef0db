"""Workloads for ``kernels benchmark``: each is verified against PyTorch before it is timed.

On a CPU, where ``TRITON_INTERPRET=1`` is needed, the shapes are small and products are float32.
Weights are small, so that rounding to bfloat16 stays below the runner's tolerance of 0.01.
"""

import torch
import torch.nn.functional as F
from kernels.benchmark import Benchmark


class FastbrainBenchmark(Benchmark):
    """Workloads of three of the four families, in bfloat16 on a GPU."""

    seed = 0

    def setup_nearest(self) -> None:
        """Rows and codes of a codebook of brain tokens."""
        rows, count = (200, 130) if self.device == "cpu" else (32_256, 8192)
        self.x, self.codes = self._normal(rows, 64), self._normal(count, 64)
        self.weights = self.codes.float().square().sum(dim=1) / 2

    def benchmark_nearest(self) -> None:
        """Index of the nearest code."""
        exact = self.device == "cpu"
        self.out = self.kernel.nearest(
            self.x, self.codes, self.weights, None, cosine=False, exact=exact
        )

    def verify_nearest(self) -> torch.Tensor:
        """Largest score in float32."""
        return (self.x.float() @ self.codes.float().T - self.weights).argmax(dim=1)

    def setup_lora_linear(self) -> None:
        """A layer of 768 numbers with an adapter of rank 16."""
        rows, columns = (40, 96) if self.device == "cpu" else (16_384, 3072)
        self.x, self.weight = self._normal(rows, 768), self._normal(columns, 768) / 320
        self.down, self.up = self._normal(16, 768) / 32, self._normal(columns, 16) / 320

    def benchmark_lora_linear(self) -> None:
        """Layer and adapter in one product."""
        low = F.linear(self.x, self.down)
        self.out = self.kernel.lora_wide(
            *(self.x, self.weight, None, low, self.up, 1.0, "gelu"),
            by_rows=True,
            exact=self.device == "cpu",
        ).float()

    def verify_lora_linear(self) -> torch.Tensor:
        """Layer and adapter in float32."""
        x, weight, down, up = (t.float() for t in (self.x, self.weight, self.down, self.up))
        return F.linear(x, weight) + F.linear(F.gelu(F.linear(x, down)), up)

    def setup_tokenize_voxels(self) -> None:
        """Windows in the layout of a store, patches of 8 × 8 × 8 voxels."""
        batch, count, features = (2, 9, 32) if self.device == "cpu" else (64, 711, 768)
        shape = batch, 1, count, 512
        self.volumes = torch.randint(-999, 999, shape, dtype=torch.int16, device=self.device)
        self.weight = self._normal(features, 1, 8, 8, 8) / 320
        offsets = torch.arange(count * 512, dtype=torch.int32, device=self.device)
        self.offsets = offsets.view(count, 512)
        self.mean = torch.zeros(count, 512, device=self.device)
        self.inv_std = torch.full((count, 512), 1 / 500, device=self.device)

    def benchmark_tokenize_voxels(self) -> None:
        """Normalise and multiply in one kernel."""
        self.out = self.kernel.tokenize_voxels(
            *(self.volumes, self.weight, None, self.offsets, self.mean, self.inv_std, 1.0),
            exact=self.device == "cpu",
        ).float()

    def verify_tokenize_voxels(self) -> torch.Tensor:
        """Normalise, then multiply in float32."""
        patches = (self.volumes[:, 0].float() - self.mean) * self.inv_std
        return F.linear(patches, self.weight.float().flatten(1))

    def _normal(self, *shape: int) -> torch.Tensor:
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        return torch.randn(*shape, device=self.device).to(dtype)
