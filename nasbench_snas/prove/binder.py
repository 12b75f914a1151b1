"""Triton's own binder behind a driver that launches and compiles nothing: which kernels a GPU would
compile for the launches of a step.

Every launch goes through Triton's specialisation of its arguments (types, alignment, ones and
multiples of 16, constants), as it would on a device; only the compiler is stopped. Needs no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction


class NotingDriver:
    """A driver of a device that is not there.

    Args:
        capability: Compute capability, times ten.
    """

    def __init__(self, capability: int = 90) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_device(self) -> int:
        """Return the only device."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Return the only stream."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """Return what would be compiled for."""
        return self._target


class Compilations:
    """Kernels that would have been compiled.

    Attributes:
        keys: Distinct kernels, as Triton keeps them: name and key.
        launches: Launches that went through the binder.
    """

    def __init__(self) -> None:
        self.keys: set[tuple[str, str]] = set()
        self.launches = 0

    def note(self, **seen: Any) -> bool:
        """Note a launch; return True, so that Triton does not compile."""
        self.launches += 1
        self.keys.add((seen["fn"].name, str(seen["key"])))
        return True


def kernels() -> list[JITFunction[Any]]:
    """Return all kernels of the backend."""
    from nasbench_snas.kernels.triton import depthwise, mix, norms

    values = [value for module in (depthwise, mix, norms) for value in vars(module).values()]
    return [value for value in values if isinstance(value, JITFunction)]


@contextmanager
def compilations(capability: int = 90) -> Iterator[Compilations]:
    """Note which kernels the launches inside the block would compile; nothing runs.

    Outputs hold whatever was in memory. Autotuning must be off.

    Args:
        capability: Compute capability, times ten.
    """
    found = Compilations()
    every = kernels()
    kept = {id(kernel): dict(kernel.device_caches) for kernel in every}
    hook = knobs.runtime.jit_cache_hook
    for kernel in every:
        kernel.device_caches.clear()
    driver.set_active(NotingDriver(capability))
    knobs.runtime.jit_cache_hook = found.note
    try:
        yield found
    finally:
        knobs.runtime.jit_cache_hook = hook
        driver._active = None
        for kernel in every:
            kernel.device_caches.clear()
            kernel.device_caches.update(kept[id(kernel)])
