"""The end of a job's time: what is measured after the training keeps to it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Deadline:
    """When a job has to end.

    Args:
        seconds: From now on; infinite: never.

    Attributes:
        cut: Whether something was left out for it.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self._at = time.monotonic() + seconds
        self.cut = False

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._at

    def leaves_out(self) -> bool:
        """Return whether the time is up, and remember that something is left out for it."""
        self.cut |= self.passed
        return self.passed

    def limit(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield ``batches`` while there is time, the first one in any case."""
        for number, batch in enumerate(batches):
            if number and self.leaves_out():
                return
            yield batch
