"""Independent random streams from one seed, and seeded initialisation of modules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of the stream ``name`` of ``seed``.

    Streams of different names are independent, so that two runs with the same seed share initial
    weights, data order and augmentation whatever else they draw (comparisons are paired on the
    seed).
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def seeded_init(generator: torch.Generator) -> Iterator[None]:
    """Let torch's default initialisers draw from ``generator`` within the block.

    They know only the global generator: it is seeded from ``generator`` and put back as it was.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
