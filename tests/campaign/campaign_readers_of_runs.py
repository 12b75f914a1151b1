"""The readers of run folders: events, results, environment, status, exports; commands, too."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from campaign_judge import WrongError
from campaign_mutations import mutated_bytes, mutated_json, mutated_lines, mutated_text
from campaign_readers import Reader, expect


def readers_of_runs(store: Path, scratch: Path) -> list[Reader]:
    """Return the readers of the files of a run.

    Args:
        store: A store with a finished search.
        scratch: A folder to write inputs to.
    """
    from nasbench_snas.runs.folder import RunFolder
    from nasbench_snas.runs.index import index_row
    from nasbench_snas.runs.pack import pack, unpack
    from nasbench_snas.runs.plugins import recorded_plugins
    from nasbench_snas.runs.results import export_results, load_rows, read_exported
    from nasbench_snas.runs.rows import RowLoader
    from nasbench_snas.runs.schema import COLUMNS

    whole = next(store.glob("snas-snas-unit-smoke-s0-*"))
    root = scratch / "runs"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole, root / whole.name)
    folder = RunFolder(root / whole.name)
    exported = scratch / "whole.csv"
    export_results(load_rows(store), exported)
    csv = exported.read_bytes().decode()

    def replaced(name: str, read: Callable[[], None]) -> Callable[[str | bytes], None]:
        """Return a reader that puts an input in the place of a file, and the file back after."""
        original = (whole / name).read_bytes()

        def reader(content: str | bytes) -> None:
            data = content if isinstance(content, bytes) else content.encode("utf-8", "ignore")
            (folder.path / name).write_bytes(data)
            try:
                read()
            finally:
                (folder.path / name).write_bytes(original)

        return reader

    def rows() -> None:
        recorded_plugins(folder)
        for row in (index_row(folder), *RowLoader().rows("search", folder)):
            expect(isinstance(row["status"], str) and row["run_id"] is not None, "no status")
        (row,) = RowLoader().rows("search", folder)
        expect(set(row) == set(COLUMNS), "other columns")
        accuracies = [row[name] for name in ("search_valid_acc", "child_valid_acc")]
        believed = row["status"] != "damaged"
        ok = all(value is None or 0 <= value <= 100 for value in accuracies)
        expect(not believed or ok, f"accuracies {accuracies}")

    def command(*words: str) -> Callable[[], None]:
        def run() -> None:
            rows()
            call("--root", str(root), *words)

        return run

    name = whole.name
    files = (
        ("events.jsonl", 900, mutated_lines, command("ls")),
        ("result.json", 900, mutated_json, rows),
        ("result.json", 100, mutated_json, command("show", name)),
        ("result.json", 60, mutated_json, command("report", "--format", "terminal")),
        ("env.json", 700, mutated_json, rows),
        ("env.json", 100, mutated_json, command("show", name)),
        ("env.json", 60, mutated_json, command("pack", "--out", str(scratch / "out.tar.xz"))),
        ("status.json", 300, mutated_json, command("ls")),
        ("config.toml", 200, mutated_text, rows),
        ("genotype.json", 60, mutated_json, command("cost", name)),
    )
    found = []
    for file, share, mutate, read in files:
        text = (whole / file).read_text()

        def make(chance: random.Random, text: str = text, mutate: object = mutate) -> str:
            return str(mutate(chance, text))  # type: ignore[operator]

        found.append(Reader(f"{file} of a run", share, make, replaced(file, read)))
    alpha = (whole / "alpha.npz").read_bytes()
    draw = command("draw", name, "--evolution", "--out", str(scratch / "out"))

    def read_export(content: str) -> None:
        file = scratch / "results.csv"
        file.write_bytes(content.encode("utf-8", "ignore"))
        expect(list(read_exported(file)) == list(COLUMNS), "other columns")

    pack(root, scratch / "whole.tar.xz")
    packed, records = (scratch / "whole.tar.xz").read_bytes(), len(list(root.rglob("*.json")))

    def read_pack(content: bytes) -> None:
        shutil.rmtree(scratch / "unpacked", ignore_errors=True)
        (scratch / "some.tar.xz").write_bytes(content)
        unpack(scratch / "some.tar.xz", scratch / "unpacked")
        names = [p.name for p in (scratch / "unpacked").rglob("*") if p.is_file()]
        expect("config.toml" in names and len(names) <= records + 4, f"unpacked {names}")

    return [
        *found,
        Reader("packed runs", 100, lambda c: mutated_bytes(c, packed), read_pack),
        Reader(
            "alpha.npz of a run", 40, lambda c: mutated_bytes(c, alpha), replaced("alpha.npz", draw)
        ),
        Reader("exported results", 400, lambda c: mutated_text(c, csv), read_export),
    ]


def call(*words: str) -> None:
    """Run ``nasbench WORDS`` here; raise :class:`WrongError` where it ends without a word."""
    import contextlib
    import io

    from nasbench_snas.cli.main import main

    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main(list(words))
    except SystemExit as error:
        text = out.getvalue()
        if "not expected" in text or "Traceback" in text:
            raise WrongError(f"{words[2]}: {_line(text)}") from error
        if error.code and not text.strip():
            raise WrongError(f"{words[2]}: exit code {error.code} without a word") from error


def _line(text: str) -> str:
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if "not expected" in line or "Traceback" in line)
    return json.dumps(lines[max(at - 1, 0)][:200])
