"""The modes of torch that a run relies on, set by the run and not found in its surroundings.

A notebook or another framework may call a run inside its own autocast region, under ``no_grad`` or
``inference_mode``, or with another default type or device. Each would change results without a
word: an outer autocast region, even a disabled one, keeps the bfloat16 copies of weights that an
inner one made, so that later steps train and measure old weights.

Numbers below 1.2e-38 (subnormal) are flushed to zero on the CPU: near the end of a temperature's
schedule weights of operations are as small as that, sums do not notice them, and arithmetic with
them takes processors many times longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_DEVICES = ("cpu", "cuda")


@contextmanager
def own_modes() -> Iterator[None]:
    """Compute with gradients, in float32 on the CPU unless said otherwise, without autocast.

    Subnormal numbers are zero.

    A context manager and, as ``@own_modes()``, a decorator; the surroundings are restored.
    """
    default = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False, cache_enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if default != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, default)
        if torch.full((), 1e-39).mul(1.0).item() and torch.set_flush_denormal(True):
            stack.callback(torch.set_flush_denormal, False)
        yield


def own_autocast(device: str, kind: torch.dtype | None) -> torch.autocast:
    """Return an autocast region that keeps no copies of weights, whatever encloses it.

    Args:
        device: Kind of device, ``cpu`` or ``cuda``.
        kind: Type to compute in; None: no autocast.
    """
    return torch.autocast(device, kind, enabled=kind is not None, cache_enabled=False)
