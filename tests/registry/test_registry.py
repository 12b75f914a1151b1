"""Plug-ins: found without import, suggested when misspelt, reported when broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import KINDS, Registry, register
from nasbench_snas.registry import registry as registry_module
from nasbench_snas.settings.parameters import create, resolve_parameters

PLUGIN = '''"""Half DARTS: the mean weights, halved."""

from nasbench_snas.api import Pathwise


class Half(Pathwise):
    """Half."""

    name = "{name}"
    reference = "liu2019darts"
    evaluations = "K F forward + backward"
    bias = "biased"

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def relax(self, dist, noise):
        return self.factor * dist.probs[:, None]
'''


def plugin(folder: Path, name: str = "half", text: str = PLUGIN) -> str:
    file = folder / "my_estimator.py"
    file.write_text(text.format(name=name))
    return str(file)


def test_builtin_names_are_listed_from_the_source_text_alone() -> None:
    code = (
        "import sys\n"
        "from nasbench_snas.registry import Registry\n"
        "from nasbench_snas.registry import KINDS\n"
        "entries = [e for kind in KINDS for e in Registry().entries(kind)]\n"
        "names = {e.name for e in entries}\n"
        "assert {'snas', 'darts', 'reinforce', 'random', 'darts-cnn'} <= names\n"
        "assert {'sep_conv_3x3', 'digits', 'flops', 'best-of-N'} <= names\n"
        "assert not [e for e in entries if e.problem]\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_builtin_estimator_declares_what_listings_show() -> None:
    for entry in Registry().estimators():
        for key in ("family", "reference", "evaluations", "bias", "summary"):
            assert entry.attributes.get(key), f"{entry.name} lacks {key}"


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(PluginError, match=r"unknown estimator 'snass'(?s:.)*Did you mean 'snas'"):
        Registry().estimator("snass")


def test_a_plugin_file_is_listed_and_loaded_with_its_settings(tmp_path: Path) -> None:
    registry = Registry(plugins=[plugin(tmp_path)])
    entry = registry.entry("estimator", "half")
    assert entry.attributes["family"] == "pathwise"
    cls = registry.estimator("half")
    assert cls is registry.estimator("half")
    assert create(cls, {"factor": "0.25"}, "estimator").factor == 0.25  # type: ignore[attr-defined]


def test_a_plugin_from_the_environment_is_found(tmp_path: Path) -> None:
    assert Registry(environment_plugins=[plugin(tmp_path)]).estimator("half").name == "half"


def test_a_name_defined_twice_is_an_error_that_names_both_origins(tmp_path: Path) -> None:
    file = plugin(tmp_path, name="snas")
    with pytest.raises(PluginError, match=r"more than once(?s:.)*my_estimator.py and built-in"):
        Registry(plugins=[file]).estimator("snas")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "invalid syntax"),
        ("raise RuntimeError('no luck')\n" + PLUGIN, "no luck"),
        ("import not_a_module_at_all\n" + PLUGIN, "not_a_module_at_all"),
    ],
)
def test_a_broken_plugin_is_reported_where_it_is_used_and_breaks_nothing_else(
    tmp_path: Path, text: str, message: str
) -> None:
    registry = Registry(plugins=[plugin(tmp_path, text=text)])
    assert registry.estimator("snas").name == "snas"
    names = {entry.name for entry in registry.estimators()}
    name = "half" if "half" in names else "my-estimator"
    with pytest.raises(PluginError, match=message):
        registry.estimator(name)


def test_a_missing_plugin_file_is_reported(tmp_path: Path) -> None:
    registry = Registry(plugins=[str(tmp_path / "nothing.py")])
    with pytest.raises(PluginError, match="there is no file"):
        registry.estimator("nothing")


def test_register_refuses_what_is_no_plugin_and_a_second_class_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_registered", {})
    with pytest.raises(PluginError, match="is no plug-in"):
        register(int)
    cls = Registry(plugins=[plugin(tmp_path)]).estimator("half")
    assert register(cls) is cls
    assert Registry().estimator("half") is cls
    with pytest.raises(PluginError, match="registered twice"):
        register(type("Other", cls.__mro__[1:2], {"name": "half"}))


def test_unknown_and_mistyped_settings_of_a_plugin_are_errors_with_suggestions() -> None:
    cls = Registry().estimator("snas")
    with pytest.raises(ConfigError, match="unknown setting estimator.tau_ende"):
        resolve_parameters(cls, {"tau_ende": 1.0}, "estimator")
    with pytest.raises(ConfigError, match="estimator.tau_end"):
        resolve_parameters(cls, {"tau_end": "cold"}, "estimator")
    assert resolve_parameters(cls, {}, "estimator")["tau_start"] == 1.0


def test_a_module_of_an_entry_point_is_located_without_importing_its_parents() -> None:
    code = (
        "import sys\n"
        "from nasbench_snas.registry.source import module_file\n"
        "file = module_file('torchvision.datasets.cifar')\n"
        "assert file is not None and file.name == 'cifar.py'\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_that_registers_its_class_can_be_a_plugin_named_in_several_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_registered", {})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    text = "from nasbench_snas.registry import register\n" + PLUGIN
    file = plugin(tmp_path, text=text.replace("class Half", "@register\nclass Half"))
    spelled = str(tmp_path / "." / "x" / ".." / "my_estimator.py")
    (tmp_path / "x").mkdir()
    registry = Registry(plugins=[file, file, spelled, "my_estimator"], environment_plugins=[file])
    assert registry.estimator("half") is registry.estimator("half")
    assert [entry.name for entry in registry.estimators()].count("half") == 1


def test_two_classes_of_one_name_in_one_file_are_an_error(tmp_path: Path) -> None:
    text = PLUGIN + PLUGIN.partition("Pathwise\n")[2].replace("class Half", "class Other")
    with pytest.raises(PluginError, match="more than once"):
        Registry(plugins=[plugin(tmp_path, text=text)]).estimator("half")


def test_a_plugin_that_exits_is_reported_and_does_not_end_the_program(tmp_path: Path) -> None:
    registry = Registry(plugins=[plugin(tmp_path, text="raise SystemExit(7)\n" + PLUGIN)])
    with pytest.raises(PluginError, match="SystemExit: 7"):
        registry.estimator("half")


@pytest.mark.parametrize(
    "text",
    [
        "class Helper:\n    name = 'my-estimator'\n",
        "class Five(object):\n    name = 5\n",
        "class Odd(object):\n    name = {[]: 1}\n",
        "\0",
    ],
)
def test_a_file_that_defines_no_plugin_breaks_no_listing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "my_estimator.py"
    file.write_text(text)
    registry = Registry(plugins=[str(file)])
    (entry,) = [entry for entry in registry.estimators() if entry.problem]
    assert entry.name == "my-estimator"
    with pytest.raises(PluginError, match=r"unknown estimator 'helper'(?s:.)*is broken"):
        registry.estimator("helper")


def test_an_entry_point_may_name_a_class_that_its_package_imports(tmp_path: Path) -> None:
    package = tmp_path / "half_package"
    package.mkdir()
    (package / "__init__.py").write_text("from .my_estimator import Half\n")
    plugin(package)
    info = tmp_path / "half_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nasbench_snas.estimators]\nhalf = half_package:Half\n")
    code = (
        "from nasbench_snas.registry import Registry\n"
        "registry = Registry()\n"
        "assert not registry.entry('estimator', 'half').problem\n"
        "print(registry.estimator('half').__module__)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "half_package.my_estimator"


ALL_KINDS = '''"""One file with a plug-in of every new kind, and helpers that are none."""

from torch import nn

from nasbench_snas import api


class Helper(nn.Module):
    name = "helper"


class Base(api.CostCriterion):
    unit = "things"


class Things(Base):
    name = "things"
    summary = "counts things"

    def table(self, space):
        return [[1.0] * space.num_operations] * space.num_edges


class Wide(api.CandidateOperation):
    name = "wide"
    summary = "7x7"
    units = ((api.Conv((7, 7), depthwise=True), api.Conv((1, 1), strided=(False, False))),)


class Mine(api.ImageDataset):
    name = "mine"
    summary = "images"


class Last(api.DerivationRule):
    name = "last"
    summary = "the last operation"


class Twice(api.LossTransformer):
    name = "twice"
    summary = "doubles"


class Soon(api.EarlyStop):
    name = "soon"
    summary = "ends at once"
'''
NEW = {
    "operation": "wide",
    "dataset": "mine",
    "criterion": "things",
    "rule": "last",
    "transformer": "twice",
    "stop": "soon",
}


@pytest.mark.parametrize(("kind", "name"), NEW.items())
def test_every_kind_is_listed_from_the_text_and_loaded_by_name(kind, name, tmp_path: Path) -> None:
    file = tmp_path / "many.py"
    file.write_text(ALL_KINDS)
    registry = Registry(plugins=[str(file)])
    mine = {entry.name for entry in registry.entries(kind) if entry.file == file}
    assert mine == {name}
    assert registry.plugin(kind, name).name == name
    for other in KINDS:
        found = {entry.name for entry in registry.entries(other) if entry.file == file}
        assert found == ({NEW[other]} if other in NEW else set()), other


def test_an_operation_of_a_plugin_is_known_by_name_once_a_space_was_asked_for(tmp_path: Path):
    from nasbench_snas.architecture import operations

    file = tmp_path / "many.py"
    file.write_text(ALL_KINDS)
    registry = Registry(plugins=[str(file)])
    try:
        registry.space("darts-cnn")
        assert operations.operation("wide").units[0][0].kernel == (7, 7)
        assert registry.operation("wide") == operations.operation("wide")
    finally:
        operations._offered.clear()
    assert registry.operation("skip_connect") is operations.OPERATIONS["skip_connect"]
    with pytest.raises(ConfigError, match="--plugin"):
        operations.operation("wide")


def test_what_is_built_in_as_data_has_no_class() -> None:
    with pytest.raises(PluginError, match="built in"):
        Registry().criterion("flops")
    assert not Registry().is_plugin("rule", "argmax")


def test_a_missing_plugin_on_the_command_line_is_an_error_at_once(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from nasbench_snas.cli.main import nasbench

    for text in (str(tmp_path / "no.py"), "no_such_module_at_all"):
        result = CliRunner().invoke(nasbench, ["--plugin", text, "ls", "rules"])
        assert isinstance(result.exception, ConfigError) and "no such" in str(result.exception)
    file = tmp_path / "many.py"
    file.write_text("raise RuntimeError('no luck')\n" + ALL_KINDS)
    arguments = ["--plugin", str(file), "run", "-e", "nothing", "-c", "nowhere.toml"]
    result = CliRunner().invoke(nasbench, arguments)
    assert isinstance(result.exception, PluginError) and "no luck" in str(result.exception)
    listed = CliRunner().invoke(nasbench, ["--plugin", str(file), "ls", "rules"])
    assert listed.exit_code == 0 and "the last operation" in listed.output


OPERATION = """from nasbench_snas.api import CandidateOperation, Conv


class Mine(CandidateOperation):
    name = "{name}"
    summary = "pointwise"
    units = ((Conv((1, 1)),),)
"""


def offered(registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return the operation that a registry makes known by its name."""
    from nasbench_snas.architecture import operations

    monkeypatch.setattr(operations, "_offered", {})
    registry.offer_operations()
    return operations.operation(name)


def test_operations_come_from_the_environment_and_from_register_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OPERATION.format(name="mine"))
    registry = Registry(environment_plugins=[str(file)])
    first = offered(registry, "mine", monkeypatch)
    cls = registry.plugin("operation", "mine")
    monkeypatch.setattr(registry_module, "_registered", {})
    register(cls)
    assert offered(Registry(), "mine", monkeypatch) == first


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("raise RuntimeError('no luck')\n" + OPERATION, "mine", "no luck"),
        (OPERATION, "skip_connect", "defined more than once"),
        (OPERATION.replace("units = ((Conv((1, 1)),),)", ""), "mine", "must declare its units"),
    ],
)
def test_a_broken_operation_is_reported_where_it_is_used(
    text: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text.format(name=name))
    with pytest.raises(PluginError, match=message):
        offered(Registry(plugins=[str(file)]), name, monkeypatch)


def test_a_package_installed_meanwhile_is_found_and_others_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = registry_module.entry_points

    def counted() -> Any:
        reads.append("read")
        return real()

    monkeypatch.setattr(registry_module, "entry_points", counted)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry()
    for _ in range(3):
        registry.estimator("snas")
    assert len(reads) == 1
    info = tmp_path / "late_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nasbench_snas.estimators]\nlate = late_package:L\n")
    assert registry.is_plugin("estimator", "late")
    assert len(reads) == 2
