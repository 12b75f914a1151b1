"""``nasbench report`` from the outside."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reports"))
from report_runs import make_run

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, ReportRefusedError, UnknownRunError, suggest


def call(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(nasbench, ["--root", str(root), "report", *arguments])


def test_it_prints_table_one_and_says_where_files_are(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", search=61.25, child=60.5)
    result = call(tmp_path, "--format", "terminal,md,csv", "--figure", "none")
    assert result.exit_code == 0, result.output
    assert "Table 1." in result.output and "61.25" in result.output and "0.75" in result.output
    latest = tmp_path / "_reports" / "latest"
    (folder,) = [f for f in (tmp_path / "_reports").iterdir() if f != latest]
    assert str(folder) in result.output and latest.resolve() == folder.resolve()
    assert list((folder / "tables").glob("table1-smoke-*.md"))
    assert list((folder / "tables").glob("table1-smoke-*.csv"))


def test_latest_is_the_newest_report_and_nothing_else_is_touched(tmp_path: Path) -> None:
    make_run(tmp_path, "snas")
    words = ("--format", "html", "--figure", "none")
    latest = tmp_path / "_reports" / "latest"
    told = [call(tmp_path, *words).output for _ in range(2)]
    assert all(f"open {latest / 'report.html'}" in text for text in told)
    assert latest.readlink().name in told[1] and latest.readlink().name not in told[0]
    call(tmp_path, *words, "--out", str(tmp_path / "elsewhere"))
    assert latest.readlink().name in told[1]
    latest.unlink()
    latest.mkdir()  # someone's own folder
    result = call(tmp_path, *words)
    assert result.exit_code == 0 and latest.is_dir() and not latest.is_symlink()
    assert f"open {latest}" not in result.output


@pytest.mark.parametrize("name", ["run", "sweep", "report", "gradients", "draw"])
def test_help_ends_with_three_examples(name: str) -> None:
    told = CliRunner().invoke(nasbench, [name, "--help"]).output.splitlines()
    at = told.index("  Examples:")
    examples = [line for line in told[at + 1 :] if line.startswith("    nasbench ")]
    assert len(examples) == 3 and told[at + 1 :] == examples


def test_an_error_suggests_first_and_lists_last() -> None:
    names = [f"estimator-{i}" for i in range(40)]
    error = ConfigError("unknown 'estimator-99'.", suggest("estimator-9", names), "Do this.")
    lines = str(error).splitlines()
    assert lines[1].strip() == "Did you mean 'estimator-9'?" and lines[2].strip() == "Do this."
    assert lines[3].strip().startswith("Known: estimator-0, ") and len(lines) == 4
    short = ConfigError("unknown 'x'.", suggest("x", ["a", "b"]), "Do this.")
    assert [line.strip() for line in str(short).splitlines()[1:]] == ["Known: a, b", "Do this."]


def test_the_manifest_names_runs_and_hashes_of_all_files(tmp_path: Path) -> None:
    run = make_run(tmp_path, "snas").name
    assert (
        call(
            tmp_path, "--format", "md,csv", "--figure", "gap", "--out", str(tmp_path / "out")
        ).exit_code
        == 0
    )
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["runs"] == [run]
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.suffix != ".json"]
    assert len(files) == len(manifest["files_sha256"]) > 2
    for file in files:
        name = file.relative_to(tmp_path / "out").as_posix()
        assert hashlib.sha256(file.read_bytes()).hexdigest() == manifest["files_sha256"][name]


def test_json_holds_tables_and_runs_and_writes_nothing(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", search=61.25)
    result = call(tmp_path, "--json")
    content = json.loads(result.output)
    row = content["tables"][0]["rows"][0]
    assert row["search_valid_acc"]["mean"] == 61.25 and row["search_valid_acc"]["runs"]
    assert content["runs"][0]["preset"] == "smoke"
    assert not (tmp_path / "_reports").exists()


def test_where_selects_runs_and_arguments_name_them(tmp_path: Path) -> None:
    first = make_run(tmp_path, "snas", 0).name
    make_run(tmp_path, "darts", 0)
    by_where = json.loads(call(tmp_path, "--json", "--where", "estimator=darts").output)
    assert {run["estimator"] for run in by_where["runs"]} == {"darts"}
    for name in (first, first[:4], str(tmp_path / first)):
        by_name = json.loads(call(tmp_path, name, "--json").output)
        assert [run["run_id"] for run in by_name["runs"]] == [first]


def test_stores_of_two_machines_are_merged(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "snas", 0)
    make_run(tmp_path / "b", "snas", 1)
    content = json.loads(call(tmp_path / "a", str(tmp_path / "b"), "--json").output)
    assert sorted(run["seed"] for run in content["runs"]) == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--strict",), ReportRefusedError),
        (("--where", "spce=x"), ConfigError),
        (("--table", "9"), ConfigError),
        (("--format", "docx"), ConfigError),
        (("--ci", "95"), ConfigError),
        (("no-such-run",), UnknownRunError),
    ],
)
def test_wrong_use_is_an_error_of_its_kind(
    tmp_path: Path, arguments: tuple[str, ...], error: type[Exception]
) -> None:
    make_run(tmp_path, "snas", 0)
    make_run(tmp_path, "snas", 1, preset="paper")
    assert isinstance(call(tmp_path, *arguments).exception, error)


def test_refusal_is_exit_code_five_and_help_needs_no_torch_or_pandas(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    make_run(tmp_path, "snas", 1, preset="paper")
    command = [sys.executable, "-m", "nasbench_snas", "--root", str(tmp_path), "report", "--strict"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5 and "different settings" in done.stderr
    code = (
        "import sys\nfrom nasbench_snas.cli.main import nasbench\n"
        "try: nasbench(['report', '--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    light = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert light.stdout.strip().endswith("set()") and "--min-seeds" in light.stdout


def test_tables_on_the_terminal_need_neither_pandas_nor_matplotlib(tmp_path: Path) -> None:
    make_run(tmp_path, "snas", 0)
    code = (
        "import sys\nfrom nasbench_snas.cli.main import nasbench\n"
        f"nasbench(['--root', {str(tmp_path)!r}, 'report', '--format', 'terminal'],"
        " standalone_mode=False)\n"
        "print({'matplotlib', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")


@pytest.mark.parametrize("option", ["--columns", "--figure", "--format"])
@pytest.mark.parametrize("value", ["", " , "])
def test_a_list_that_names_nothing_is_refused(tmp_path: Path, option: str, value: str) -> None:
    make_run(tmp_path, "snas")
    result = call(tmp_path, option, value)
    assert result.exit_code == 2 and "names nothing" in result.output
    assert not (tmp_path / "_reports").exists()
