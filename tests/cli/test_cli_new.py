"""``nasbench new``: what it writes works, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import INFO, KINDS, Registry
from nasbench_snas.testing.target import find_targets, test_class

ROOT = Path(__file__).resolve().parents[2]


def new(*arguments: str, out: Path):
    return CliRunner().invoke(nasbench, ["new", *arguments, "--out", str(out)])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The least that makes a folder a checkout of the suite."""
    for name in ("estimators/__init__.py", "spaces/__init__.py", "nasbench_snas/api/__init__.py"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return tmp_path


def test_in_a_checkout_the_files_go_where_the_built_in_ones_are(checkout):
    result = new("estimator", "my-method", out=checkout)
    assert result.exit_code == 0, result.output
    source = checkout / "estimators/my_method.py"
    test = checkout / "tests/estimators/test_my_method.py"
    assert source.is_file() and test.is_file()
    assert "from nasbench_snas.estimators.my_method import MyMethod" in test.read_text()
    assert f"wrote {source}" in result.output and "next: nasbench check my-method" in result.output


def test_test_file_is_a_subclass_of_three_lines(checkout):
    new("estimator", "my-method", out=checkout)
    lines = (checkout / "tests/estimators/test_my_method.py").read_text().splitlines()
    body = lines[lines.index("class TestMyMethod(EstimatorConformance):") :]
    assert body == ["class TestMyMethod(EstimatorConformance):", "    estimator = MyMethod"]


@pytest.mark.parametrize("family", ["pathwise", "score", "custom"])
def test_skeleton_passes_every_quick_check(family, tmp_path):
    new("estimator", f"try-{family}", "--family", family, out=tmp_path)
    file = next(tmp_path.rglob(f"src/**/try_{family}.py"))
    (target,) = find_targets(str(file))
    kit = test_class(target)()
    quick = [c for c in kit.checks() if not hasattr(getattr(kit, f"test_{c}"), "pytestmark")]
    assert len(quick) > 30
    for check in quick:
        try:
            getattr(kit, f"test_{check}")()
        except pytest.skip.Exception:
            continue


def test_skeleton_of_a_space_passes_its_checks(tmp_path):
    new("space", "my-space", out=tmp_path)
    (target,) = find_targets(str(next(tmp_path.rglob("src/**/my_space.py"))))
    kit = test_class(target)()
    for check in kit.checks():
        try:
            getattr(kit, f"test_{check}")()
        except pytest.skip.Exception:
            continue


@pytest.mark.parametrize("kind", KINDS)
def test_elsewhere_a_repository_with_an_entry_point_is_written(kind, tmp_path):
    import tomllib

    result = new(kind, "my-thing", out=tmp_path)
    assert result.exit_code == 0, result.output
    root = tmp_path / "nasbench-snas-my-thing"
    written = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert written == {
        "pyproject.toml",
        "README.md",
        "ci.sh",
        ".gitignore",
        "src/nasbench_snas_my_thing/__init__.py",
        "src/nasbench_snas_my_thing/my_thing.py",
        "tests/test_my_thing.py",
    }
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    points = project["entry-points"][f"nasbench_snas.{INFO[kind].plural}"]
    assert points == {"my-thing": "nasbench_snas_my_thing.my_thing:MyThing"}
    assert "@" not in (root / "README.md").read_text(), "a placeholder was left"


def test_one_file_is_written_for_the_option_plugin(checkout):
    result = new("operation", "my-op", "--file", out=checkout)
    assert result.exit_code == 0, result.output
    file = checkout / "my_op.py"
    assert result.output.splitlines() == [f"wrote {file}", f"next: nasbench check {file}"]
    assert Registry(plugins=[str(file)]).operation("my-op").kind == "conv"
    both = new("operation", "other", "--file", "--package", out=checkout)
    assert both.exit_code == 2 and "exclude each other" in both.output


@pytest.mark.parametrize("kind", ["operation", "criterion"])
def test_skeletons_of_other_kinds_pass_their_checks(kind, tmp_path, monkeypatch):
    from nasbench_snas.architecture import operations

    monkeypatch.setattr(operations, "_offered", {})
    new(kind, "my-thing", "--file", out=tmp_path)
    (target,) = find_targets(str(tmp_path / "my_thing.py"))
    kit = test_class(target)()
    for check in kit.checks():
        try:
            getattr(kit, f"test_{check}")()
        except pytest.skip.Exception:
            continue


def test_package_option_writes_a_repository_even_in_a_checkout(checkout):
    assert new("estimator", "my-method", "--package", out=checkout).exit_code == 0
    assert (checkout / "nasbench-snas-my-method/pyproject.toml").is_file()
    assert not (checkout / "estimators/my_method.py").exists()


def test_written_files_satisfy_the_linter(tmp_path):
    if shutil.which("ruff") is None and not (Path(sys.executable).parent / "ruff").exists():
        pytest.skip("ruff is not installed")
    for family in ("pathwise", "score", "custom"):
        new("estimator", f"lint-{family}", "--family", family, out=tmp_path)
    for kind in KINDS[1:]:
        new(kind, f"lint-{kind}", out=tmp_path)
    ruff = str(Path(sys.executable).parent / "ruff")
    for arguments in (["check"], ["format", "--check"]):
        config = ["--config", str(ROOT / "pyproject.toml")]
        sources = [str(path) for path in tmp_path.glob("*/src")]
        done = subprocess.run(
            [ruff, *arguments, *config, *sources], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_existing_files_are_never_overwritten(checkout):
    new("estimator", "my-method", out=checkout)
    source = checkout / "estimators/my_method.py"
    source.write_text("mine")
    (checkout / "tests/estimators/test_my_method.py").unlink()
    result = new("estimator", "my-method", out=checkout)
    assert isinstance(result.exception, ConfigError) and "never overwritten" in str(
        result.exception
    )
    assert source.read_text() == "mine"
    assert not (checkout / "tests/estimators/test_my_method.py").exists(), "half of it was written"


@pytest.mark.parametrize(
    "name", ["My-Method", "my_method", "2fast", "a--b", "", "class", "../evil"]
)
def test_impossible_names_are_refused(name, tmp_path):
    result = CliRunner().invoke(nasbench, ["new", "--out", str(tmp_path), "estimator", "--", name])
    assert result.exit_code != 0
    assert isinstance(result.exception, ConfigError), result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "name"), [("estimator", "snas"), ("space", "darts-cnn")])
def test_taken_names_are_refused_with_their_origin(kind, name, tmp_path):
    result = new(kind, name, "--package", out=tmp_path)
    assert isinstance(result.exception, ConfigError)
    assert "already" in str(result.exception) and "built-in" in str(result.exception)


def test_a_space_has_no_family(tmp_path):
    result = new("space", "my-space", "--family", "score", out=tmp_path)
    assert result.exit_code == 2 and "--family" in result.output


def test_registry_lists_a_written_plugin_without_importing_it(tmp_path):
    new("estimator", "my-method", out=tmp_path)
    file = next(tmp_path.rglob("src/**/my_method.py"))
    entry = Registry(plugins=(str(file),)).entry("estimator", "my-method")
    assert entry.attributes["bias"] == "consistent"
    assert entry.attributes["family"] == "pathwise"
