"""What the tests of the Python interface share: a notebook, and a registry left as it was."""

from __future__ import annotations

import pytest
from cells import Notebook

from nasbench_snas.registry import register


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after a test what it registered."""
    monkeypatch.setitem(register.__globals__, "_registered", {})


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    return Notebook(monkeypatch)
