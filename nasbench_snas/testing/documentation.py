"""Checks of what a plug-in says about itself: docstrings, class attributes, reference."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nasbench_snas.bibliography import bibliography, resolve_reference
from nasbench_snas.settings.parameters import resolve_parameters

MAX_CODE_LINES = 80
_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Return the number of lines of ``source`` that hold code: no comments, no docstrings."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def literal_attributes(source: str, class_name: str) -> dict[str, Any]:
    """Return the class attributes of ``class_name`` that are literals in ``source``."""
    values: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.ClassDef) and node.name == class_name):
            continue
        for statement in node.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                target, value = statement.targets[0].id, statement.value
            elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                if statement.value is None:
                    continue
                target, value = statement.target.id, statement.value
            else:
                continue
            try:
                values[target] = ast.literal_eval(value)
            except ValueError:
                continue
    return values


def documented_defaults(docstring: str) -> dict[str, str]:
    """Return what the entries of ``Args:`` state as defaults: ``name: What. Default VALUE.``"""
    found: dict[str, str] = {}
    section = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    text = section.group(1) if section else ""
    for entry in re.split(r"\n(?=    \w+:)", "\n" + text)[1:]:
        name, _, words = entry.strip().partition(":")
        stated = re.search(r"\bDefault (.+)\.$", " ".join(words.split()))
        if stated:
            found[name] = stated.group(1)
    return found


class DocumentationChecks:
    """Checks of docstrings and class attributes; mixed into all kits.

    Attributes:
        subject_attribute: See :class:`~nasbench_snas.testing.conformance.Conformance`.
        documented_attributes: Literal class attributes that listings need.
        settings: Keyword arguments the subject is constructed with.
    """

    subject_attribute: ClassVar[str]
    documented_attributes: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[dict[str, Any]] = {}

    @property
    def subject(self) -> type:
        """The class under test."""
        subject: type = getattr(type(self), self.subject_attribute)
        return subject

    @property
    def source_file(self) -> Path:
        """The file that defines the class under test."""
        return Path(inspect.getsourcefile(self.subject) or "")

    @property
    def source(self) -> str:
        """The text of that file."""
        return self.source_file.read_text(encoding="utf-8")

    @property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        """The settings by name (``nn.Module`` itself takes ``*args, **kwargs``)."""
        parameters = inspect.signature(self.subject).parameters
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {name: p for name, p in parameters.items() if p.kind not in variable}

    def test_module_docstring_states_equation_and_reference(self) -> None:
        """The file says what it computes, as an equation for an estimator, and where it is from."""
        text = ast.get_docstring(ast.parse(self.source)) or ""
        if "reference" not in self.documented_attributes:
            assert text, "the module needs a docstring: what it is, and where it is from"
            return
        assert len(text.splitlines()) >= 3, "the module needs a docstring: what, equation, source"
        if self.subject_attribute == "estimator":
            assert re.search(r"``[^`]+``|[Ee]qs?\.", text), "state the estimate as an equation"
            assert re.search(r"Deviations?\b", text), (
                "state the deviations from the source, or none"
            )
        pattern = r"Reference|arXiv|doi|et al\.|20\d\d|19\d\d"
        assert re.search(pattern, text), "state the source in the module's docstring"

    def test_class_docstring_explains_every_setting(self) -> None:
        """Each setting is named in the class's docstring, or in that of the class it comes from."""
        assert inspect.getdoc(self.subject), "the class needs a docstring"
        text = "\n".join(vars(cls).get("__doc__") or "" for cls in inspect.getmro(self.subject))
        missing = [name for name in self._parameters if not re.search(rf"\b{name}\b", text)]
        assert not missing, f"settings without a word in the docstring: {missing}"

    def test_defaults_are_the_documented_ones(self) -> None:
        """``Default VALUE.`` in the docstring is the default; built-in estimators state them all.

        Formulas of a gradient take settings as they are: a changed default shows nowhere else.
        """
        if self.subject_attribute != "estimator":
            pytest.skip("for estimators only")
        stated = documented_defaults(inspect.getdoc(self.subject) or "")
        for name, parameter in self._parameters.items():
            if name in stated:
                assert stated[name] == repr(parameter.default), (
                    f"{name}: the docstring says {stated[name]}, the default is "
                    f"{parameter.default!r}"
                )
            elif self.subject.__module__.startswith("nasbench_snas.estimators."):
                raise AssertionError(
                    f"{name}: state its default in the docstring: Default {parameter.default!r}."
                )

    def test_listed_attributes_are_literals(self) -> None:
        """Listings read name, reference and so on from the text, importing nothing."""
        found = literal_attributes(self.source, self.subject.__name__)
        missing = [name for name in self.documented_attributes if not found.get(name)]
        assert not missing, f"write {missing} as literal strings in {self.subject.__name__}"
        wrong = [name for name in self.documented_attributes if not isinstance(found[name], str)]
        assert not wrong, f"{wrong} must be strings"
        for name in self.documented_attributes:
            assert found[name] == getattr(self.subject, name), f"{name} is changed later"

    def test_name_is_lower_case_with_dashes(self) -> None:
        """The name serves as a key, in file names and on the command line."""
        name = getattr(self.subject, "name", "")
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name), f"{name!r}: use my-method"

    def test_reference_resolves_to_bibtex(self) -> None:
        """The reference is a key of the bibliography or a complete BibTeX entry."""
        name, reference = (getattr(self.subject, key) for key in ("name", "reference"))
        if not reference and "reference" not in self.documented_attributes:
            pytest.skip("there is no reference")
        entries = resolve_reference(name, reference, bibliography())
        for key, text in entries.items():
            for field in ("title", "author", "year"):
                assert re.search(rf"\b{field}\s*=\s*[{{\"\d]", text), f"{key} has no {field}"

    def test_settings_are_keywords_with_defaults(self) -> None:
        """The class is constructed from names and values alone, each typed and with a default."""
        values = resolve_parameters(self.subject, self.settings, self.subject_attribute)
        self.subject(**values)
        for name, parameter in self._parameters.items():
            assert parameter.annotation is not parameter.empty, f"setting {name} has no type"

    def test_built_in_files_are_short(self) -> None:
        """A built-in estimator has at most 80 lines of code; its file is named after it."""
        if not self.subject.__module__.startswith("nasbench_snas.estimators."):
            pytest.skip("for built-in estimators only")
        lines = code_lines(self.source)
        assert lines <= MAX_CODE_LINES, f"{lines} lines of code, more than {MAX_CODE_LINES}"
        name = getattr(self.subject, "name", "")
        assert self.source_file.stem == name.replace("-", "_"), "name the file after the estimator"
