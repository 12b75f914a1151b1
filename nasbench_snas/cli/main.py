"""Entry point of ``nasbench``: global options, lazily loaded commands, error format, exit codes."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

from nasbench_snas import __version__
from nasbench_snas.compute.launched import is_main_process
from nasbench_snas.errors import EXIT_MEANINGS, ConfigError, ExitCode, NasbenchError, suggest

EXIT_CODES = "\b\nExit codes:\n" + "\n".join(
    f"  {int(code)}  {meaning}" for code, meaning in EXIT_MEANINGS.items()
)


_NO_MEMORY = r"can't allocate memory|not enough memory|out of memory"
_UNEXPECTED = "This was not expected; -vv (`nasbench -vv …`) shows where it happened."


class LazyGroup(click.Group):
    """A group whose commands are the files of this folder, imported only when they are used.

    A file ``<name>.py`` (underscores become dashes) defines the click command ``command``; the
    first line of its docstring is the short help.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names by file name."""
        files = Path(__file__).parent.glob("[a-z]*.py")
        hidden = {"main"}
        return sorted(f.stem.replace("_", "-") for f in files if f.stem not in hidden)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None if there is no such file."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"nasbench_snas.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command, suggesting the nearest name for a misspelt one."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            hint = suggest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"unknown command {args[0]!r}.\n  {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the files' docstrings, importing nothing."""
        rows = []
        for name in self.list_commands(ctx):
            file = Path(__file__).with_name(f"{name.replace('-', '_')}.py")
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            rows.append((name, text.splitlines()[0] if text else ""))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="nasbench")
@click.option("-v", "--verbose", count=True, help="More output; -vv shows tracebacks.")
@click.option("-q", "--quiet", count=True, help="Only results and errors; -qq errors only.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--no-color", is_flag=True, help="No colour (also NO_COLOR).")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="PATH|MODULE",
    help="Load a plug-in file or module; repeatable (also NASBENCH_PLUGINS).",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    envvar="NASBENCH_ROOT",
    show_default=True,
    help="Folder of the runs; for reading also a file of packed runs.",
)
@click.pass_context
def nasbench(
    ctx: click.Context,
    verbose: int,
    quiet: int,
    log_format: str,
    no_color: bool,
    plugins: tuple[str, ...],
    root: Path,
) -> None:
    """Compare gradient estimators for differentiable neural architecture search."""
    if no_color:
        os.environ["NO_COLOR"] = "1"
    _configure_logging(verbose, quiet, log_format)
    extra = tuple(p for p in os.environ.get("NASBENCH_PLUGINS", "").split(os.pathsep) if p)
    store = _store(root, ctx.invoked_subcommand)
    refuse_missing(plugins)
    ctx.obj = Session(store, verbose, quiet, tuple(plugins), extra, source=root)
    if ctx.invoked_subcommand not in _WITHOUT_PLUGINS:
        registry = ctx.obj.registry()
        registry.load_named()
        registry.offer_operations()


_WITHOUT_PLUGINS = ("cite", "doctor", "ls", "new", "pack", "report", "show")
"""Commands that import no plug-in: they list, or show what was recorded."""

_READERS = ("cite", "config", "cost", "draw", "ls", "report", "show", "truth")


def _store(root: Path, command: str | None) -> Path:
    """Return the run store; one that is a file may be read, if it is a pack."""
    if not root.is_file():
        return root
    from nasbench_snas.runs.pack import is_pack, store_of

    if not is_pack(root):
        raise click.BadParameter(f"{root} is a file, not a folder of runs.", param_hint="--root")
    if command not in _READERS:
        raise click.BadParameter(
            f"{root} holds packed runs, which `nasbench {command}` cannot continue. Unpack it: "
            f"nasbench --root FOLDER pack --unpack {root}",
            param_hint="--root",
        )
    return store_of(root)


def refuse_missing(plugins: Sequence[str]) -> None:
    """Raise a :class:`ConfigError` for a file or module of ``--plugin`` that there is not."""
    for text in plugins:
        if text.endswith(".py") or "/" in text:
            if not Path(text).is_file():
                raise ConfigError(f"--plugin {text}: there is no such file.")
            continue
        from nasbench_snas.registry import has_module

        if not has_module(text):
            raise ConfigError(
                f"--plugin {text}: there is no such module.",
                "A file ends in .py; a module is found as Python finds it from here.",
            )


class Session:
    """What every command receives as ``ctx.obj``.

    Args:
        root: Folder of the runs.
        verbose: Number of ``-v``.
        quiet: Number of ``-q``.
        plugins: Files or modules from ``--plugin``.
        environment_plugins: Files or modules from ``NASBENCH_PLUGINS``.
        source: What ``--root`` named: ``root``, or the file of packed runs that is unpacked there.

    Attributes:
        silent: Whether this is one of several processes of a job, and not the one that speaks.
    """

    def __init__(
        self,
        root: Path,
        verbose: int,
        quiet: int,
        plugins: tuple[str, ...],
        environment_plugins: tuple[str, ...],
        source: Path | None = None,
    ) -> None:
        self.root, self.verbose, self.quiet = root, verbose, quiet
        self.source = source or root
        self.plugins, self.environment_plugins = plugins, environment_plugins
        self.silent = not is_main_process()

    def registry(self) -> Any:
        """Return the plug-in registry with this command's plug-ins (nothing is imported yet)."""
        from nasbench_snas.registry import Registry

        return Registry(plugins=self.plugins, environment_plugins=self.environment_plugins)

    def console(self, *, stderr: bool = False) -> Any:
        """Return a rich console for results (or for progress, on stderr)."""
        from nasbench_snas.cli._terminal import SafeConsole

        columns = os.environ.get("COLUMNS", "")
        wide = int(columns) if columns.isascii() and columns.isdecimal() else 0
        width = None if sys.stdout.isatty() else min(max(120, wide), 10_000)
        return SafeConsole(stderr=stderr, soft_wrap=True, width=width, quiet=self.silent)


class _JsonLines(logging.Formatter):
    """One JSON object for each message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values = {"time": self.formatTime(record), "level": record.levelname}
        values["message"] = record.getMessage()
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values)


def _configure_logging(verbose: int, quiet: int, log_format: str) -> None:
    """Show messages by level on stderr; files such as a run's log get all of them."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.ERROR if quiet else level)
    plain = logging.Formatter("%(levelname)s %(message)s")
    handler.setFormatter(_JsonLines() if log_format == "json" else plain)
    logger = logging.getLogger("nasbench_snas")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG)


def _raise_interrupt(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    from nasbench_snas.cli._streams import safe_streams

    signal.signal(signal.SIGTERM, _raise_interrupt)
    with safe_streams():
        _main(sys.argv[1:] if args is None else args)


def _main(arguments: list[str]) -> None:
    try:
        code = nasbench.main(args=arguments, prog_name="nasbench", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        told = known_error(error)
        click.echo(f"Error: {told}", err=True)
        logging.getLogger("nasbench_snas").debug("traceback", exc_info=True)
        sys.exit(told.exit_code)


def known_error(error: Exception) -> NasbenchError:
    """Return what to tell: the error itself, what the machine refused, or that it surprises."""
    if isinstance(error, NasbenchError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        name = os.fsdecode(error.filename)
        shown = name if len(name) <= 120 else f"{name[:120]}…"
        return NasbenchError(
            f"cannot use {shown!r}: {error.strerror or error}.",
            "A file or folder that was named, or is needed, cannot be read or written.",
            "Name another path, or mend its permissions.",
        )
    if isinstance(error, ValueError) and "null byte" in str(error):
        return ConfigError("a path has a NUL character.", "No file can be called that.")
    if isinstance(error, MemoryError) or re.search(_NO_MEMORY, str(error)):
        return NasbenchError(
            "there is not enough memory.",
            str(error).splitlines()[0][:160] if str(error) else "",
            "Choose smaller batches, fewer channels or images, or another --device.",
        )
    return NasbenchError(f"{type(error).__name__}: {error}\n  {_UNEXPECTED}")


if __name__ == "__main__":
    main()
