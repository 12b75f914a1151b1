"""What the conformance kits share: the class under test, expected failures, and their marks.

A kit is a class whose methods ``test_…`` are the checks; a check's name is the method's without
``test_``. A test module subclasses it and names what is under test::

    class TestMyMethod(EstimatorConformance):
        estimator = MyMethod

A check that cannot hold is declared with the reason, on the plug-in's class or on the test class::

    expected_failed_checks = {"weights_are_on_the_simplex": "independent gates, by design"}

and is then reported as an expected failure; if it passes, that is a failure (strict).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from nasbench_snas.errors import ConfigError, suggest

PREFIX = "test_"


class Conformance:
    """Base of the kits.

    Attributes:
        subject_attribute: Name of the class attribute that holds the class under test.
        expected_failed_checks: Check to the reason why it cannot hold; added to the attribute of
            the same name on the class under test.
        device: Where the checks run.
    """

    subject_attribute: ClassVar[str] = ""
    expected_failed_checks: ClassVar[Mapping[str, str]] = {}
    device: ClassVar[str] = "cpu"

    def __init_subclass__(cls, **options: Any) -> None:
        """Mark the expected failures of a test class."""
        super().__init_subclass__(**options)
        subject = getattr(cls, cls.subject_attribute, None) if cls.subject_attribute else None
        if subject is None:
            return
        expected = {
            **getattr(subject, "expected_failed_checks", {}),
            **cls.expected_failed_checks,
        }
        for check, reason in expected.items():
            _expect_failure(cls, check, reason)

    @classmethod
    def checks(cls) -> list[str]:
        """Return the names of all checks."""
        return [name.removeprefix(PREFIX) for name in dir(cls) if name.startswith(PREFIX)]


def _expect_failure(cls: type[Conformance], check: str, reason: str) -> None:
    """Replace a check of ``cls`` by a copy that is marked as failing for ``reason``.

    Raises:
        ConfigError: There is no such check, or the reason is empty.
    """
    method: Callable[..., None] | None = getattr(cls, PREFIX + check, None)
    if method is None:
        raise ConfigError(
            f"{cls.__name__}.expected_failed_checks names {check!r}, which is no check.",
            suggest(check, cls.checks()),
        )
    if not reason.strip():
        raise ConfigError(
            f"{cls.__name__}.expected_failed_checks[{check!r}] gives no reason.",
            fix="Say in a few words why the check cannot hold.",
        )

    @functools.wraps(method)
    def marked(self: Conformance, *args: Any, **kwargs: Any) -> None:
        method(self, *args, **kwargs)

    setattr(cls, PREFIX + check, pytest.mark.xfail(reason=reason, strict=True)(marked))
