"""No name of a stranger steers the terminal: control characters are written out, everywhere."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from rich.progress import Progress
from rich.table import Table

from nasbench_snas.cli._streams import SafeStream, safe_streams
from nasbench_snas.cli._terminal import SafeConsole
from nasbench_snas.cli.main import main

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31mred\r\u202e"
SAFE = "\\x1b]0;title\\x07\\x1b[2J\\x9b31mred\\r\\u202e"


def is_safe(text: str) -> bool:
    return not set(text) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_every_way_to_write_goes_through_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with safe_streams():
        print(EVIL)
        click.echo(EVIL)
        click.echo(EVIL, err=True)
        click.ClickException(EVIL).show()
        click.secho(EVIL)
        sys.stdout.writelines([EVIL])
        handler = logging.StreamHandler(sys.stderr)
        handler.handle(logging.makeLogRecord({"msg": EVIL}))
    for stream in (out, err):
        assert is_safe(stream.getvalue()) and stream.getvalue().count(SAFE) >= 2
    assert sys.stdout is out


def test_a_console_keeps_its_own_colours_but_no_control_characters_of_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with safe_streams():
        console = SafeConsole(width=400)
        table = Table(title=EVIL)
        table.add_column(EVIL)
        table.add_row(EVIL)
        console.print(table)
        console.print(EVIL, "[red]markup[/red] [/unbalanced]", style="bold")
    text = out.getvalue()
    assert "\x1b[1m" in text and "[red]markup[/red] [/unbalanced]" in text
    for code in ("\x1b]0;", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert code not in text
    assert text.count("\\x1b[2J") == 4


def test_a_bar_still_moves_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    with safe_streams():
        with Progress(console=SafeConsole(), transient=True) as progress:
            progress.add_task(EVIL, total=1)
            print(EVIL)
    assert "\x1b[?25l" in out.getvalue()  # the bar hides the cursor
    assert "\x1b]0;" not in out.getvalue() and "\x07" not in out.getvalue()


def test_a_stream_without_the_characters_is_no_error() -> None:
    bytes_behind = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(bytes_behind, encoding="ascii", write_through=True))
    stream.write("λ \udc80")
    assert bytes_behind.getvalue() == rb"\u03bb \udc80"


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "estimators"),
        ("ls", "runs"),
        ("show", EVIL),
        ("draw", EVIL),
        ("cost", EVIL),
        ("run", "-e", EVIL, "-s", "snas-unit"),
        ("config", "diff", EVIL, EVIL),
        ("report", "--format", "terminal"),
        (EVIL,),
    ],
    ids=lambda words: " ".join(words)[:12].strip("\x1b]0;"),
)
def test_no_command_lets_a_name_steer_the_terminal(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        f"from nasbench_snas.api import Estimator\n\n\nclass X(Estimator):\n"
        f"    {EVIL[:4] + 'doc'!r}\n    name = {EVIL!r}\n    reference = {EVIL!r}\n"
    )
    folder = tmp_path / "runs" / f"x{EVIL}".replace("/", "")
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("preset = 'smoke'\n")
    (folder / "status.json").write_text(json.dumps({"status": "failed", "reason": EVIL}))
    (folder / "result.json").write_text(json.dumps({"stage": EVIL, "run_id": EVIL}))
    with pytest.raises(SystemExit):
        main(["--plugin", str(plugin), "--root", str(tmp_path / "runs"), *words])
    captured = capsys.readouterr()
    assert captured.out + captured.err
    assert is_safe(captured.out) and is_safe(captured.err)


def test_a_line_in_an_ascii_terminal_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nasbench_snas", "--root", str(tmp_path), "ls", "presets"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
