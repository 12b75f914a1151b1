"""How many processor threads a piece of work is worth.

Threads meet at a barrier at the end of each kernel. Where kernels are short, the barriers cost as
much as the second thread saves; on a machine that others use, too, they cost many times more,
because every barrier waits until the operating system runs all threads. The rule: a thread for
every :data:`GRAIN` elements of a feature map. It depends on the settings only, so that a small run
gives the same bits on machines of different size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

GRAIN = 32_768
"""Elements that a thread is worth; PyTorch's own elementwise kernels share out as much."""


@contextmanager
def threads_for(elements: int) -> Iterator[int]:
    """Use as many threads as ``elements`` are worth, at most as many as were in use before.

    Args:
        elements: Size of a feature map of the first layer, over the whole batch.

    Yields:
        The number of threads.
    """
    before = torch.get_num_threads()
    count = max(min(before, elements // GRAIN), 1)
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)
