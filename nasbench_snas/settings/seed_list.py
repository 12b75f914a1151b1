"""Seeds as users write them."""

from __future__ import annotations

from nasbench_snas.errors import ConfigError

MOST = 10_000
"""Seeds of one command at most."""


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of ``0``, ``0,3,7`` or ``0-9`` (mixtures allowed), in order, without
    repeats.

    Raises:
        ConfigError: The text is not of that form, or means more than :data:`MOST` seeds.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last) if dash else (first,)
        if not all(end.isascii() and end.isdecimal() and len(end) < 16 for end in ends):
            raise ConfigError(
                f"cannot read seeds {text[:80]!r}.",
                "Expected whole numbers below 10^15, or ranges of them.",
                "Examples: 0 | 0,3,7 | 0-9",
            )
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ConfigError(f"seeds {part.strip()!r} are none.", fix=f"Write {high}-{low}.")
        if len(seeds) + high - low >= MOST:
            raise ConfigError(
                f"seeds {text[:80]!r} are more than {MOST:,}.",
                "Every seed is a run of its own.",
                "Give fewer, for example 0-9.",
            )
        seeds.extend(range(low, high + 1))
    return list(dict.fromkeys(seeds))
