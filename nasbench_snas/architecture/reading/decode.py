"""Bytes of a file or of standard input as text."""

from __future__ import annotations

import codecs

from nasbench_snas.errors import GenotypeError

LONGEST = 2**25
"""Characters of a text at most."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(data: bytes) -> str:
    """Return the text of ``data``: UTF-8, UTF-16 with its mark, or Latin-1 without controls.

    Raises:
        GenotypeError: It is no text, or longer than :data:`LONGEST`.
    """
    if len(data) > 2 * LONGEST:
        raise too_long()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or b"\x00" in data:
            raise GenotypeError(f"it is no text: {error}") from error
        text = data.decode("latin-1")
    if "\x00" in text:
        raise GenotypeError("it is no text: it holds null characters.")
    return text


def too_long() -> GenotypeError:
    """Return the error about a text that is too long."""
    return GenotypeError(
        f"more than {LONGEST} characters: too long to be read for a genotype.",
        fix="Give the part that holds it, for example: grep -i genotype FILE | nasbench cost -",
    )
