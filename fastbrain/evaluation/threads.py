"""One thread for an evaluation, so that its numbers do not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one CPU thread; also a decorator.

    Matrix products on the CPU are cut into as many parts as there are threads, and their sums
    differ in the last bits: scores of embeddings then differ between machines. What runs on a GPU
    is not slowed down.
    """
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"):  # of numpy
            yield
    finally:
        torch.set_num_threads(before)
