"""Independent random streams from one seed, and seeded initialisation of modules."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

logger = logging.getLogger("nasbench_snas")

STATE_BYTES = {"cpu": 5056, "cuda": 16}
"""Size of a generator's state, by which the kind of device that it comes from is known."""


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

    They know only the global generator of the host: it is seeded from ``generator`` and put back as
    it was. Modules are to be made on the host, so that a seed means the same on every device.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    before = torch.default_generator.get_state()
    # torch.manual_seed would seed the generators of all devices as well, and leave them so.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def restore_generator(generator: torch.Generator, state: Tensor) -> bool:
    """Put ``generator`` where ``state`` stands; return whether it goes on with the same numbers.

    Kinds of devices have generators of different kinds. A state of another kind starts a new
    stream, a function of that state (continuing twice gives the same), and a warning says so.

    Raises:
        ValueError: It is the state of no generator.
    """
    own = generator.get_state()
    state = state.cpu()
    if state.dtype == own.dtype and state.numel() == own.numel():
        generator.set_state(state)
        return True
    if state.dtype != own.dtype or state.numel() not in STATE_BYTES.values():
        raise ValueError(f"no state of a generator: {state.dtype}, {state.numel()} values")
    logger.warning(
        "a random stream comes from another kind of device than %s: it begins anew from here, so "
        "the result is not that of a run which stayed on its device",
        generator.device.type,
    )
    digest = hashlib.blake2b(state.numpy().tobytes(), digest_size=8).digest()
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)
    return False
