"""BibTeX of the works that estimators and spaces refer to; imports no torch.

A plug-in's class attribute ``reference`` is a key of ``estimators/references.bib`` (or several,
separated by commas), or a BibTeX entry of its own.
"""

from __future__ import annotations

import re
from importlib import resources

from nasbench_snas.errors import DataError, suggest


def bibliography() -> dict[str, str]:
    """Return the suite's BibTeX entries by key."""
    file = resources.files("nasbench_snas.estimators") / "references.bib"
    return parse_bibtex(file.read_text(encoding="utf-8")) if file.is_file() else {}


def parse_bibtex(text: str) -> dict[str, str]:
    """Return the entries of a BibTeX text by key; braces are matched, an open entry is left out."""
    entries = {}
    for match in re.finditer(r"@\w+\s*\{\s*([^,\s{}]+)\s*,", text):
        depth = 0
        for position in range(match.start(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0 and text[position] == "}":
                entries[match.group(1)] = text[match.start() : position + 1]
                break
    return entries


def resolve_reference(name: str, reference: str, known: dict[str, str]) -> dict[str, str]:
    """Return key to BibTeX of each work that the plug-in ``name`` refers to.

    Args:
        name: The plug-in, for the message.
        reference: Its class attribute.
        known: The suite's entries by key.

    Raises:
        DataError: A key is not in the bibliography, or there is no reference.
    """
    if own := parse_bibtex(reference):
        return own
    keys = [key.strip() for key in reference.split(",") if key.strip()]
    missing = [key for key in keys if key not in known] if keys else [""]
    if missing:
        raise DataError(
            f"{name!r} refers to {missing[0]!r}, which is not in references.bib.",
            suggest(missing[0], known),
            "Its class attribute `reference` must be such a key, or a complete BibTeX entry.",
        )
    return {key: known[key] for key in keys}
