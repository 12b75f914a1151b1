"""Run the conformance checks on plug-ins of any kind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import click

from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.registry import KINDS

_MODULE = '''"""Written by `nasbench check`."""

from nasbench_snas.testing.target import find_targets, test_class

for target in find_targets({text!r}, {plugins!r}, {environment_plugins!r}):
    made = test_class(target, device={device!r})
    globals()[made.__name__] = made
'''
_LABELS = {
    "passed": ("ok", "green"),
    "failed": ("FAIL", "red"),
    "skipped": ("skip", "yellow"),
    "xfailed": ("expected", "yellow"),
}


@click.command("check")
@click.argument("targets", nargs=-1, metavar="NAME|path.py|pkg:Class…")
@click.option(
    "--all", "everything", is_flag=True, help="Everything known but what is built in as data."
)
@click.option("--quick", is_flag=True, help="Leave out the slow proofs.")
@click.option("--device", default="cpu", show_default=True, help="Where the checks run.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write a JUnit XML report."
)
@click.option("-k", "expression", default="", metavar="EXPR", help="Only checks that match.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of lines.")
@click.pass_obj
def command(
    session: Any,
    targets: tuple[str, ...],
    everything: bool,
    quick: bool,
    device: str,
    junit: Path | None,
    expression: str,
    as_json: bool,
) -> None:
    """Run the conformance checks that everything built in passes, each kind its own.

    Exit code 1 if a check fails. An expected failure carries the plug-in's own reason.
    """
    if everything:
        registry = session.registry()
        entries = [entry for kind in KINDS for entry in registry.entries(kind)]
        targets = (*targets, *(entry.name for entry in entries if entry.is_class))
    if not targets:
        raise click.UsageError("name a plug-in, or use --all.")
    _refuse_unknown(session, targets)
    modules = [
        _MODULE.format(
            text=text,
            plugins=session.plugins,
            environment_plugins=session.environment_plugins,
            device=device,
        )
        for text in dict.fromkeys(targets)
    ]
    options = ["-k", expression] if expression else []
    options += ["-m", "not slow"] if quick else []
    options += [f"--junit-xml={junit.resolve()}"] if junit else []
    rows = run_checks(modules, options, None if as_json else Printer(sys.stdout, session.quiet))
    if not rows:
        raise ConfigError(
            "no check was run.", f"-k {expression!r} matches none.", "Leave it out to see them all."
        )
    failed = sum(row.outcome == "failed" for row in rows)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        click.echo(summary(rows))
    if failed:
        raise click.exceptions.Exit(1)


@dataclass(frozen=True)
class Row:
    """One check's result.

    Attributes:
        target: Class under test.
        check: Name of the check.
        outcome: ``passed``, ``failed``, ``skipped`` or ``xfailed``.
        seconds: Duration.
        reason: Why it failed or was skipped.
        notes: What the check has to say: power, the error that it excludes, what is not tested.
    """

    target: str
    check: str
    outcome: str
    seconds: float
    reason: str = ""
    notes: tuple[str, ...] = ()


class Printer:
    """Writes one line a check to ``stream`` as they end."""

    def __init__(self, stream: TextIO, quiet: int) -> None:
        self.stream, self.quiet, self.target = stream, quiet, ""
        self.colour = stream.isatty() and "NO_COLOR" not in os.environ

    def __call__(self, row: Row) -> None:
        """Write ``row``; with ``-q`` failures only."""
        if self.quiet and row.outcome != "failed":
            return
        if row.target != self.target:
            self.target = row.target
            click.echo(row.target, file=self.stream)
        label, colour = _LABELS[row.outcome]
        label = click.style(f"{label:8}", fg=colour) if self.colour else f"{label:8}"
        first = row.reason.splitlines()[0] if row.outcome in ("skipped", "xfailed") else ""
        note = f"  ({first})" if first else ""
        click.echo(f"  {label} {row.check.replace('_', ' ')}{note}", file=self.stream)
        for text in row.notes:
            click.echo(f"           {text}", file=self.stream)
        if row.outcome == "failed":
            text = "\n".join("           " + line for line in row.reason.splitlines())
            click.echo(text, file=self.stream)


class Recorder:
    """A pytest plug-in that collects the results."""

    def __init__(self, show: Printer | None) -> None:
        self.rows: list[Row] = []
        self.notes: dict[str, tuple[str, ...]] = {}
        self.show = show

    def pytest_configure(self, config: Any) -> None:
        """Register the marker of slow proofs."""
        config.addinivalue_line("markers", "slow: a proof that takes long")

    def pytest_collectreport(self, report: Any) -> None:
        """Keep a module that cannot be collected as a failure."""
        if report.failed:
            self._add(Row(report.nodeid, "collection", "failed", 0.0, str(report.longrepr)))

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """Keep the notes that a check has left on its instance."""
        notes = getattr(getattr(item, "instance", None), "notes", ())
        if call.when == "call" and notes:
            self.notes[item.nodeid] = tuple(notes)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the result of a check."""
        relevant = report.when == "call" or report.outcome != "passed"
        if not relevant or (report.when == "teardown" and report.outcome == "skipped"):
            return
        names = report.nodeid.split("::")
        outcome, reason = report.outcome, ""
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "failed"
            reason = str(report.wasxfail).removeprefix("reason: ")
        elif report.skipped:
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = str(crash.message) if crash else str(report.longrepr)
        target = names[-2].removeprefix("Test")
        check = names[-1].removeprefix("test_")
        notes = self.notes.get(report.nodeid, ())
        self._add(Row(target, check, outcome, round(float(report.duration), 3), reason, notes))

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        if self.show is not None:
            self.show(row)


def run_checks(modules: list[str], options: list[str], show: Printer | None) -> list[Row]:
    """Run test modules in pytest, apart from the user's own settings and plug-ins.

    Args:
        modules: Their texts.
        options: Further arguments of pytest.
        show: What to do with each row as it comes.
    """
    try:
        import pytest
    except ImportError as error:
        raise MissingDependencyError("pytest is missing.", fix="pip install pytest") from error
    recorder = Recorder(show)
    with tempfile.TemporaryDirectory(prefix="nasbench-check-") as folder, _apart():
        files = []
        for number, text in enumerate(modules):
            unique = Path(folder).name.replace("-", "_")  # modules of one process share a table
            files.append(Path(folder) / f"test_{unique}_{number}.py")
            files[-1].write_text(text, encoding="utf-8")
        settings = Path(folder) / "pytest.ini"
        settings.write_text("[pytest]\n", encoding="utf-8")
        fixed = ["-q", "--capture=sys", "--tb=short", "--import-mode=importlib"]
        fixed += ["-p", "no:cacheprovider", "-c", str(settings), f"--rootdir={folder}"]
        with contextlib.redirect_stdout(io.StringIO()):
            pytest.main([*fixed, *options, *map(str, files)], [recorder])
    return recorder.rows


def summary(rows: list[Row]) -> str:
    """Return the closing line: counts and time."""
    counts = {key: sum(row.outcome == key for row in rows) for key in _LABELS}
    words = {"passed": "passed", "failed": "failed", "skipped": "not applicable"}
    words["xfailed"] = "expected failures"
    parts = [f"{counts[key]} {words[key]}" for key in _LABELS if counts[key] or key == "passed"]
    return f"{', '.join(parts)} in {sum(row.seconds for row in rows):.1f} s"


def _refuse_unknown(session: Any, targets: tuple[str, ...]) -> None:
    """Raise the error of a target that cannot be found, before pytest is started."""
    from nasbench_snas.testing.target import find_targets

    if any(":" in text for text in targets) and "" not in sys.path:
        sys.path.append("")  # a module in the current folder; last, so that it hides no package
    for text in targets:
        find_targets(text, session.plugins, session.environment_plugins)


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Keep pytest from the user's options and from plug-ins that happen to be installed."""
    changes = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    before = {key: os.environ.get(key) for key in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
