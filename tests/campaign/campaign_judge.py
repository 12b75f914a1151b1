"""What became of one input or command: fine, refused, or something that must not happen."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from nasbench_snas.errors import NasbenchError

SECONDS, BYTES = 5.0, 1 << 30
WALL = 300.0
"""Seconds of wall-clock time after which a command counts as hanging, on any machine."""


class WrongError(Exception):
    """Something was accepted that is not right."""


class _TooLongError(BaseException):
    """The processor time is up."""


@dataclass(frozen=True)
class Verdict:
    """The judgement of one case.

    Attributes:
        kind: ``fine``, ``refused``, ``unclear`` or ``mismatch``.
        why: What was unclear.
        seconds: Processor time.
    """

    kind: str
    why: str = ""
    seconds: float = 0.0

    @property
    def is_bad(self) -> bool:
        """Whether it must not happen."""
        return self.kind in ("unclear", "mismatch")


def limit_memory(extra: int = BYTES) -> None:
    """Let this process have ``extra`` more bytes of address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def judge(read: Callable[[], None]) -> Verdict:
    """Call ``read`` behind the error boundary of the command line and judge it."""

    def stop(signum: int, frame: Any) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            read()
        kind, why = "fine", ""
    except (NasbenchError, click.ClickException, click.exceptions.Exit) as error:
        kind, why = ("refused", "") if str(error).strip() else ("unclear", "an empty message")
    except _TooLongError:
        kind, why = "unclear", f"over {SECONDS:g} s"
    except WrongError as error:
        kind, why = "unclear", f"accepted but wrong: {error}"
    except MemoryError:
        kind, why = "unclear", "over 1 GB"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is judged
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        kind, why = "unclear", f"{type(error).__name__} at {where}: {str(error)[:160]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return Verdict(kind, why, time.process_time() - began)


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: Its exit code, negative a signal.
        text: Its output and its errors.
        seconds: Processor time.
        hung: Whether it had to be killed.
        bytes: Memory beyond that of the process that forked it.
    """

    code: int
    text: str
    seconds: float
    hung: bool
    bytes: int

    def verdict(self, *, long: bool = False) -> Verdict:
        """Return the judgement; ``long`` commands may train."""
        for words in ("Traceback (most recent", "not expected"):
            if words in self.text:
                lines = [x for x in self.text.splitlines() if x.strip()]
                at = next((i for i, x in enumerate(lines) if words in x), 0)
                why = lines[-1] if "Trace" in words else lines[max(at - 1, 0)]
                return Verdict("unclear", f"{words}: {why[:200]}", self.seconds)
        if self.hung or (self.seconds > SECONDS and not long):
            return Verdict("unclear", f"over {SECONDS:g} s", self.seconds)
        if self.bytes > BYTES:
            return Verdict("unclear", "over 1 GB", self.seconds)
        if self.code < 0:
            return Verdict("unclear", f"died of signal {-self.code}", self.seconds)
        if self.code == 0:
            return Verdict("fine", "", self.seconds)
        if "Error" not in self.text and "Usage" not in self.text and "BAD" not in self.text:
            why = f"exit code {self.code} without a word: {self.text[-160:]}"
            return Verdict("unclear", why, self.seconds)
        return Verdict("refused", "", self.seconds)


def forked(
    words: list[str], prepare: Callable[[], None] = lambda: None, cwd: Path = Path()
) -> Ended:
    """Run ``nasbench WORDS`` in a fork of this process, which has imported everything.

    Args:
        words: Arguments.
        prepare: Called in the fork before.
        cwd: Its current folder.
    """
    output = tempfile.TemporaryFile()
    own = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    child = os.fork()
    if child == 0:
        _become(words, prepare, cwd, output.fileno())
    deadline, hung = time.monotonic() + WALL, False
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            hung = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    output.seek(0)
    text = output.read().decode(errors="replace")
    seconds = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, text, seconds, hung, usage.ru_maxrss * 1024 - own)


def _become(words: list[str], prepare: Callable[[], None], cwd: Path, output: int) -> None:
    """Be the command: never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(cwd)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), encoding="utf-8", write_through=True)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), encoding="utf-8", write_through=True)
        from nasbench_snas.cli.main import main

        prepare()
        main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:  # noqa: BLE001 - it is shown, and judged
        traceback.print_exc()
    finally:
        os._exit(code & 0xFF)
