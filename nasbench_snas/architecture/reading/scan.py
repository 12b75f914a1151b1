"""Every genotype in a text, in one pass from left to right.

A reading that fails goes on where it failed, never inside what was read: the time is linear in the
length, and a piece of a broken genotype is no genotype.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.nasbench201 import from_nested, parse_architecture
from nasbench_snas.architecture.reading import benchmarks
from nasbench_snas.architecture.reading.fields import FIELDS, from_fields
from nasbench_snas.architecture.reading.surroundings import Surroundings, is_commented, look
from nasbench_snas.architecture.reading.values import Broken, Call, Place, Reader
from nasbench_snas.errors import GenotypeError

_START = re.compile(
    r"(?<![\w.])(?P<call>[A-Za-z_][\w.]*)[ \t]*\r?\n?\(|(?P<dict>\{)"
    r"|(?P<bars>\\?\|)(?=\n?[a-z]\w{0,40}\n?\w{0,40}~)"
    r"|(?P<nest>[\[(])(?=\s{0,80}[\[(]\s{0,80}[\[(]\s{0,80}[\"'])"
)
_GAP = r"[\s\\#>*+%;/]{0,200}(?:[^\n]{0,200}\n[\s#]{0,200})?"
_NORMAL, _REDUCE, _CONCAT = (r"\s?".join(word) for word in ("normal", "reduce", "_concat"))
_HEAD = re.compile(
    rf"{_GAP}(?:{_NORMAL}|{_REDUCE})(?:\s?_\s?\d{{1,3}})?(?:\s?{_CONCAT})?\s{{0,20}}="
)
_OPEN = re.compile(rf"{_GAP}[\[(]")
_LITERAL = re.compile(r"(?:np\.|numpy\.)?(?:array|asarray|list|tuple|None)\b")
_CODE = re.compile(r"[\s\\]{0,200}[A-Za-z_]")
_BARS = re.compile(r"\\?\|[a-z0-9_~|+\\\r\n]*")
_MARKS = re.compile(
    r"[\"'](?:normal|cells|normal_0|[^\"'\n]{0,60}(?:op_2_0|inputs_node_normal_3))[\"']"
)
_STRINGS = 3
"""Texts inside the strings of texts that are looked into, at most."""


@dataclass(frozen=True)
class Found:
    """One genotype in a text, or what is broken of one.

    Attributes:
        line: Its line, from 1.
        around: What stands before it.
        genotype: The genotype, or None.
        error: Why there is none.
    """

    line: int
    around: Surroundings
    genotype: Genotype | None = None
    error: GenotypeError | None = None

    @property
    def name(self) -> str:
        """What it is called in the text; may be empty."""
        return self.around.name


class _Lines:
    """Line and column of positions, asked for in any order."""

    def __init__(self, text: str) -> None:
        self.ends = [match.start() for match in re.finditer("\n", text)]

    def at(self, position: int) -> tuple[int, int]:
        """Return line and column, both from 1."""
        line = bisect.bisect_left(self.ends, position)
        start = self.ends[line - 1] + 1 if line else 0
        return line + 1, position - start + 1

    def error(self, position: int, what: str) -> GenotypeError:
        """Return the error ``what`` at ``position``."""
        line, column = self.at(position)
        return GenotypeError(f"line {line}, column {column}: {what}.")


def scan(text: str, depth: int = 0) -> list[Found]:
    """Return all genotypes in ``text``, in their order, broken ones with their error."""
    return list(_Scan(text, depth).found())


class _Scan:
    def __init__(self, text: str, depth: int) -> None:
        self.text, self.depth = text, depth
        self.lines = _Lines(text)

    def found(self) -> Iterator[Found]:
        """Yield what is found, from left to right."""
        at = 0
        while (match := _START.search(self.text, at)) is not None:
            at = match.end()
            if match["call"] is not None:
                at = yield from self._call(match)
            elif match["dict"] is not None:
                at = yield from self._dict(match.start())
            elif match["bars"] is not None:
                at = yield from self._bars(match.start())
            else:
                at = yield from self._nest(match.start())

    def _item(self, start: int, make: Callable[[], Genotype]) -> Found:
        """Return what ``make`` returns, or its error."""
        around, line = look(self.text, start), self.lines.at(start)[0]
        try:
            genotype = make()
        except GenotypeError as error:
            return Found(line, around, error=error)
        return Found(line, around, replace(genotype, name=around.name or genotype.name))

    def _broken(self, start: int, error: Broken) -> Found:
        around = look(self.text, start)
        what = error.what
        if not what.startswith("expected names") and not what.startswith("field"):
            what = f"not a genotype: {what}"
        line = self.lines.at(start)[0]
        return Found(line, around, error=self.lines.error(error.position, what))

    def _call(self, match: re.Match[str]) -> Generator[Found, None, int]:
        """Read a call of a genotype's type; yield it, and return where to go on."""
        after = match.end()
        kind = match["call"].rsplit(".", 1)[-1]
        head = _HEAD.match(self.text, after)
        typed = kind.lower().endswith(("genotype", "fairdarts"))
        if head is None and not (typed and _OPEN.match(self.text, after)):
            return after - self.text[after - 2].isspace()  # ``return (…``: no call, nested pairs
        if head is not None and not self._is_data(head.end(), typed):
            return after  # code that makes a genotype of variables
        start = match.start()
        try:
            call = self._reader(start).call(kind, after)
        except Broken as error:
            yield self._broken(start, error)
            return max(error.position, after)
        yield self._item(start, lambda: self._from_call(call))
        return call.end

    def _is_data(self, at: int, typed: bool) -> bool:
        """Whether a field's value at ``at`` is data, not code with variables."""
        if typed:
            word = _CODE.match(self.text, at)
            return word is None or _LITERAL.match(self.text, word.end() - 1) is not None
        return _OPEN.match(self.text, at) is not None

    def _from_call(self, call: Call) -> Genotype:
        if len(call.positional) > len(FIELDS):
            extra = call.positional[len(FIELDS)][1]
            raise self.lines.error(extra.start, "expected at most four positional fields")
        fields: dict[str, tuple[Any, Place | None]] = {}
        fields |= dict(zip(FIELDS, call.positional, strict=False))
        for key, (value, place) in call.named.items():
            if key in fields:
                raise self.lines.error(place.start, f"field {key!r} is not possible here")
            fields[key] = value, place
        return from_fields(fields, call.name, "", self.lines.error)

    def _dict(self, start: int) -> Generator[Found, None, int]:
        """Read a dictionary; yield the genotypes in it, and return where to go on."""
        try:
            value, _, end = self._reader(start).value(start)
        except Broken as error:
            stop = max(error.position, start + 1)
            if _MARKS.search(self.text, start, stop) is not None:
                yield self._broken(start, error)
            return stop
        around, line = look(self.text, start), self.lines.at(start)[0]
        for found in in_data(value, self.depth):
            name = found.name or around.name
            yield replace(found, line=line, around=replace(around, name=name))
        return end

    def _bars(self, start: int) -> Generator[Found, None, int]:
        """Read an architecture string of NAS-Bench-201; return where to go on."""
        match = _BARS.match(self.text, start)
        raw = match[0] if match else ""
        end = start + max(1, len(raw))
        raw = re.sub(r"(\|\\?)\r?\n[^|~]*$", r"\1", raw)  # a word of the next line
        text = re.sub(r"[\\\r\n]", "", raw)
        if "+" in text or text.count("~") > 1:
            yield self._item(start, lambda: parse_architecture(text))
        return end

    def _nest(self, start: int) -> Generator[Found, None, int]:
        """Read nested pairs of NAS-Bench-201; return where to go on."""
        try:
            value, _, end = self._reader(start).value(start)
        except Broken as error:
            return max(error.position, start + 1)
        if (make := _nested(value)) is not None:
            yield self._item(start, make)
        return end

    def _reader(self, start: int) -> Reader:
        return Reader(self.text, marked=is_commented(self.text, start))


def in_data(value: Any, depth: int = 0) -> Iterator[Found]:
    """Yield the genotypes in plain containers, named by their keys; strings are looked into."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            if (make := _maker(item)) is not None:
                yield _made(path, make)
                continue
            stack += [(f"{path}.{key}".strip("."), item[key]) for key in reversed(list(item))]
        elif isinstance(item, list):
            if (nested := _nested(item)) is not None:
                yield _made(path, nested)
                continue
            stack += [(f"{path}[{i}]", item[i]) for i in reversed(range(len(item)))]
        elif isinstance(item, str) and len(item) > 20 and depth < _STRINGS:
            for found in scan(item, depth + 1):
                name = found.name or _last(path)
                yield replace(found, line=1, around=replace(found.around, name=name))


def _nested(item: Any) -> Callable[[], Genotype] | None:
    def make() -> Genotype:
        genotype = from_nested(item)
        if genotype is None:
            raise GenotypeError("not the nested pairs of NAS-Bench-201.")
        return genotype

    try:
        return make if from_nested(item) is not None else None
    except GenotypeError:
        return make


def _made(path: str, make: Callable[[], Genotype]) -> Found:
    around = Surroundings(_last(path))
    try:
        genotype = make()
    except GenotypeError as error:
        return Found(1, around, error=error)
    return Found(1, around, genotype if genotype.name else replace(genotype, name=around.name))


def _last(path: str) -> str:
    """Return the path of a genotype in data, without the key that every one has."""
    return re.sub(r"(^|\.)(genotype|arch|config|cells)$", "", path)


def _maker(data: dict[str, Any]) -> Callable[[], Genotype] | None:
    """Return what makes the genotype of ``data``, or None if it is none."""
    if isinstance(data.get("cells"), dict) and ("format" in data or _ours(data["cells"])):
        return lambda: Genotype.from_dict(data)
    if benchmarks.is_hub(data):
        return lambda: benchmarks.from_hub(data, "")
    if benchmarks.is_configuration(data):
        return lambda: benchmarks.from_configuration(data, "")
    kind = str(data.get("type", ""))
    for field in ("normal", "normal_0"):
        if isinstance(data.get(field), list):
            fields = {key: (value, None) for key, value in data.items()}
            return lambda: from_fields(fields, kind, str(data.get("name", "")), None)
    return None


def _ours(cells: dict[str, Any]) -> bool:
    return all(isinstance(cell, dict) for cell in cells.values())
