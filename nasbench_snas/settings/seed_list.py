"""Seeds as users write them."""

from __future__ import annotations

from nasbench_snas.errors import ConfigError


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of ``0``, ``0,3,7`` or ``0-9`` (mixtures allowed), in order, without
    repeats.

    Raises:
        ConfigError: The text is not of that form.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"cannot read seeds {text!r}.", fix="Examples: 0 | 0,3,7 | 0-9")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ConfigError(f"seeds {part.strip()!r} are none.", fix=f"Write {high}-{low}.")
        seeds.extend(range(low, high + 1))
    return list(dict.fromkeys(seeds))
