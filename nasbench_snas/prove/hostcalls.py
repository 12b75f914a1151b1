"""Which calls make the host wait for a GPU, counted on any machine.

A call waits if it reads a value back (``item``, ``tolist``, ``bool``, ``cpu`` …) or copies from
pageable host memory. Here every tensor counts as one of the device, unless it is known to be the
host's: made by ``torch.tensor`` and the like without a device, declared with
:meth:`HostCalls.host`, or computed from such tensors alone. So the count of a step on a CPU is that
of the same step on a GPU, as far as both take the same way through the code.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

READS = {
    "item", "tolist", "__bool__", "__float__", "__int__", "__index__", "numpy", "cpu", "nonzero",
    "equal", "allclose", "is_nonzero", "unique", "masked_select", "__array__", "__contains__",
    "argwhere", "repeat_interleave", "bincount", "isin",
}  # fmt: skip
"""Functions that read values of their first tensor back."""

COPIES = {"tensor", "as_tensor", "from_numpy", "frombuffer"}
"""Functions that make a tensor of values of the host."""

MAKERS = COPIES | {
    "zeros", "ones", "empty", "full", "rand", "randn", "randint", "randperm", "arange", "eye",
    "bernoulli", "linspace",
}  # fmt: skip
"""Functions that make a tensor on the host if no device is given."""

_PACKAGE = "nasbench_snas"


class HostCalls(TorchFunctionMode):
    """Counts reads and copies.

    Attributes:
        found: How often each call waited, by what it was and where in the package.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, str]] = Counter()
        self._own: dict[int, weakref.ref[Tensor]] = {}

    @property
    def total(self) -> int:
        """Number of calls that wait."""
        return sum(self.found.values())

    def host(self, tensors: Iterable[Tensor]) -> None:
        """Declare tensors that stay on the host when the rest is on a device."""
        for tensor in tensors:
            key = id(tensor)
            self._own[key] = weakref.ref(tensor, lambda _, key=key: self._own.pop(key, None))  # type: ignore[misc]

    def is_host(self, tensor: Tensor) -> bool:
        """Whether a tensor is known to be the host's."""
        known = self._own.get(id(tensor))
        return known is not None and known() is tensor

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` and note whether it waits."""
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        on_host = bool(tensors) and all(self.is_host(tensor) for tensor in tensors)
        result = func(*args, **given)
        if name in READS and tensors and not on_host and not _known_size(name, given):
            self._note(name)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if name in MAKERS and not tensors:
            if given.get("device") is None:
                self.host(made)
            elif name in COPIES:
                self._note(f"{name} on a device")
        elif name == "cpu":
            self.host(made)
        elif name in ("to", "cuda") and on_host and _to_device(args, given):
            if not given.get("non_blocking"):
                self._note(f"{name} a device")
        elif name == "copy_" and not on_host and len(tensors) > 1 and self.is_host(tensors[1]):
            self._note("copy_ from the host")
        elif name == "__setitem__" and not on_host and self.is_host(tensors[-1]):
            self._note("set from the host")
        elif on_host:
            self.host(made)
        return result

    def _note(self, what: str) -> None:
        self.found[what, _place()] += 1


def _known_size(name: str, given: dict[str, Any]) -> bool:
    return name == "repeat_interleave" and given.get("output_size") is not None


def _to_device(args: Any, given: dict[str, Any]) -> bool:
    """Whether a call of ``to`` names a device."""
    values = [*args[1:], *given.values()]
    return any(isinstance(value, torch.device | str | Tensor) for value in values)


def _place() -> str:
    """Return file and line of the innermost frame of the package, this module aside."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        inside = _PACKAGE in path.parts or path.parent.name in ("estimators", "spaces")
        if inside and path.name != Path(__file__).name:
            return f"{path.name}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "outside"


@contextmanager
def host_calls(host: Iterable[Tensor] = ()) -> Iterator[HostCalls]:
    """Count the calls inside the block that would make the host wait for a GPU.

    Args:
        host: Tensors that stay on the host: the steps of an optimiser, for example.
    """
    counter = HostCalls()
    counter.host(host)
    # Backward passes run on this thread, so that they are seen as well.
    with torch.autograd.set_multithreading_enabled(False), counter:
        yield counter
