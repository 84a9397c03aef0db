"""Run an evaluation on one CPU thread, so that scores do not depend on the thread count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one CPU thread; also usable as a decorator.

    Matrix products on the CPU are split into one part per thread, so their sums differ in the
    last bits with the number of threads, and scores of embeddings differ between machines. Work
    on a GPU is not slowed down.
    """
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"):  # BLAS of numpy
            yield
    finally:
        torch.set_num_threads(before)
