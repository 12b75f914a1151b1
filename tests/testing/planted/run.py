"""Plants every error of ``errors.py`` and records which check of the kit finds it.

``python tests/testing/planted/run.py --out record.md``; ``--quick`` leaves out the slow checks,
``--only NAME`` takes errors whose name contains NAME, ``--right`` checks the right estimators.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import pytest

from nasbench_snas import estimators
from nasbench_snas.api import Estimator
from nasbench_snas.testing import EstimatorConformance

sys.path.insert(0, str(Path(__file__).parent))
from errors import ERRORS, Error
from later import LATER

FOLDER = Path(next(iter(estimators.__path__)))


def planted(error: Error | None, file: str, folder: Path) -> type[Estimator]:
    """Return the estimator class of ``file`` with ``error`` in it."""
    text = (FOLDER / f"{file}.py").read_text(encoding="utf-8")
    if error is not None:
        found = text.count(error.right)
        if found != 1:
            raise SystemExit(f"{error.name}: {error.right!r} occurs {found} times in {file}.py")
        text = text.replace(error.right, error.wrong)
    path = folder / f"{file}.py"
    path.write_text(text, encoding="utf-8")
    module = load(path, f"nasbench_snas.estimators.planted_{file}")
    name = file.replace("_", "-")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Estimator):
            if value.__module__ == module.__name__ and getattr(value, "name", "") == name:
                return value
    raise SystemExit(f"{file}.py defines no estimator {name!r}")


def load(path: Path, name: str) -> ModuleType:
    """Import the file ``path`` as the module ``name``."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def first_failure(
    cls: type[Estimator], quick: bool, only: str | None = None
) -> tuple[str, str] | None:
    """Return name and message of the first check that fails, or None.

    Args:
        cls: The estimator.
        quick: Whether slow checks are left out.
        only: The one check to run.
    """
    kit = type(f"Test{cls.__name__}", (EstimatorConformance,), {"estimator": cls})
    expected = dict(getattr(cls, "expected_failed_checks", {}))
    checks = sorted(kit.checks(), key=lambda check: (_is_slow(kit, check), _line(kit, check)))
    for check in checks:
        if (quick and _is_slow(kit, check)) or only not in (None, check):
            continue
        try:
            getattr(kit(), f"test_{check}")()
        except pytest.skip.Exception:
            continue
        except Exception as failure:  # noqa: BLE001  # whatever it is: the check has failed
            if check not in expected:
                return check, " ".join(str(failure).split())
    return None


def recorded() -> dict[str, str]:
    """Return the check that found each error, as ``record.md`` has it."""
    rows = (Path(__file__).parent / "record.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in row.split("|")] for row in rows if row.startswith("| ")]
    return {row[1]: row[3] for row in cells[1:]}


def _is_slow(kit: type, check: str) -> bool:
    marks = getattr(getattr(kit, f"test_{check}"), "pytestmark", [])
    return any(mark.name == "slow" for mark in marks)


def _line(kit: type, check: str) -> tuple[str, int]:
    code = getattr(kit, f"test_{check}").__code__
    return code.co_filename, code.co_firstlineno


def main() -> None:
    """Print a row an error, and the count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--right", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases: list[tuple[str, Error | None, str, tuple[str, ...]]]
    cases = [(error.name, error, error.file, error.marks) for error in (*ERRORS, *LATER)]
    if options.right:
        cases = [(file, None, file, ()) for file in sorted({error.file for error in ERRORS})]
    rows, caught = [], 0
    chosen = [case for case in cases if options.only in case[0]]
    for name, error, file, marks in chosen:
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            cls = planted(error, file, Path(folder))
            failure = first_failure(cls, options.quick)
            spent = time.process_time() - started
        caught += failure is not None
        check, message = failure or ("", "")
        message = message[:160].replace("|", "/")
        rows.append(f"| {name} | {', '.join(marks)} | {check} | {message} | {spent:.1f} |")
        print(rows[-1], flush=True)
    print(f"{caught} of {len(chosen)} found", flush=True)
    if options.out:
        head = "| error | marks | found by | what it says | processor s |\n|---|---|---|---|---|\n"
        options.out.write_text(head + "\n".join(rows) + f"\n\n{caught} of {len(chosen)} found.\n")


if __name__ == "__main__":
    main()
