"""``nasbench evaluate`` and ``export``: the numbers of the run, intervals, files that agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import nasbench_snas
from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import CheckpointError, ConfigError, NasbenchError
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.accuracy import evaluate, wilson
from nasbench_snas.retrain.plan import Target, plan_retraining
from nasbench_snas.retrain.runner import retrain_folder, run_retraining
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.runner import run_search


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one search and one retraining, both of a few steps."""
    root = tmp_path_factory.mktemp("runs")
    plan = plan_run(
        Registry(),
        "snas",
        "darts-cnn",
        assignments=[
            "search.epochs=1",
            "data.max_train_images=80",
            "space.channels=2",
            "space.nodes=1",
            "child.samples=1",
        ],
    )
    run_search(plan.config, Registry(), RunFolder(root / plan.run_id), RunOptions())
    retraining = plan_retraining(
        Registry(),
        Target("snas-mild", zoo("snas-mild")),
        assignments=["data.max_train_images=64", "network.channels=2", "training.epochs=2"],
    ).config
    run_retraining(retraining, Registry(), retrain_folder(root, retraining), RunOptions())
    return root


def call(root: Path, *arguments: str) -> Any:
    found = CliRunner().invoke(nasbench, ["--root", str(root), *arguments])
    assert found.exit_code == 0, (found.output, found.exception)
    return found.output


def result(root: Path, prefix: str) -> dict[str, Any]:
    (file,) = root.glob(f"{prefix}*/result.json")
    return dict(json.loads(file.read_text()))


def test_a_retraining_evaluates_to_its_own_test_error(root: Path) -> None:
    own = result(root, "_retrain/snas-mild")
    for target in ("snas-mild", str(root / "_retrain" / own["run_id"] / "checkpoints" / "last.pt")):
        found = json.loads(call(root, "evaluate", target, "--json", "--confusion"))
        assert found["err_top1"] == pytest.approx(own["test_err_top1"], abs=1e-9)
        assert found["err_top5"] == pytest.approx(own["test_err_top5"], abs=1e-9)
        low, high = found["ci_top1"]
        assert low < found["acc_top1"] < high
        table = torch.tensor(found["confusion"])
        assert int(table.sum()) == found["images"] == 360
        assert 100 * int(table.diag().sum()) / 360 == pytest.approx(found["acc_top1"])


def test_a_search_evaluates_to_its_childs_validation_accuracy(root: Path) -> None:
    own = result(root, "snas-darts-cnn")
    found = json.loads(call(root, "evaluate", own["run_id"], "--split", "search_valid", "--json"))
    assert found["acc_top1"] == pytest.approx(own["child_valid_acc"], abs=1e-6)
    text = call(root, "evaluate", own["run_id"], "--level", "0.9")
    assert "90 % interval" in text and "digits/test   360 images" in text


def test_a_retraining_has_no_search_validation_split(root: Path) -> None:
    arguments = ["--root", str(root), "evaluate", "snas-mild", "--split", "search_valid"]
    found = CliRunner().invoke(nasbench, arguments)
    assert isinstance(found.exception, ConfigError)
    assert "trains on all training images" in str(found.exception)


def test_load_gives_the_trained_network_in_evaluation_mode(root: Path) -> None:
    network = nasbench_snas.load("snas-mild", root=root)
    assert not network.training
    output = network(torch.zeros(2, 1, 8, 8))
    assert output.logits.shape == (2, 10) and output.auxiliary is None
    with pytest.raises(CheckpointError, match="matches no run"):
        nasbench_snas.load("no-such-run", root=root)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["snas-mild", "snas-darts-cnn"])
def test_exported_programs_agree_with_the_module_at_any_batch_size(
    root: Path, tmp_path: Path, prefix: str
) -> None:
    file = tmp_path / "child.pt2"
    assert "largest relative difference" in call(root, "export", prefix, str(file))
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = nasbench_snas.load(prefix, root=root)(images).logits
    torch.testing.assert_close(torch.export.load(file).module()(images), expected)


@pytest.mark.slow
def test_onnx_files_agree_with_the_module_at_any_batch_size(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    file = tmp_path / "child.onnx"
    call(root, "export", "snas-mild", str(file))
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = nasbench_snas.load("snas-mild", root=root)(images).logits
    (logits,) = ReferenceEvaluator(str(file)).run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-4)


def test_an_export_that_differs_from_its_module_is_an_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasbench_snas.evaluate import export as exporting

    network = nasbench_snas.load("snas-mild", root=root)
    monkeypatch.setattr(
        exporting, "_program", lambda module, traced, other, path: module(other) + 0.1
    )
    with pytest.raises(NasbenchError, match="gives other logits"):
        exporting.export_network(network, (1, 8, 8), tmp_path / "a.pt2")
    with pytest.raises(ConfigError, match=r"Known: \.pt2, \.onnx"):
        exporting.export_network(network, (1, 8, 8), tmp_path / "a.txt")


class Table(nn.Module):
    """Logits by index: the image's first pixel is the row."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.rows[images.flatten(1)[:, 0].long()]


def test_top_1_top_5_and_confusion_are_counted_right() -> None:
    rows = torch.arange(7.0).flip(0).repeat(3, 1)  # class 0 first, then 1, …
    labels = torch.tensor([0, 4, 5])
    images = torch.arange(3.0).view(3, 1, 1, 1)
    found = evaluate(Table(rows), [(images[:2], labels[:2]), (images[2:], labels[2:])], 7)
    assert (found.images, found.top1, found.top5) == (3, 1, 2)
    assert found.confusion[:, 0].tolist() == [1, 0, 0, 0, 1, 1, 0]
    assert int(found.confusion[:, 1:].sum()) == 0
    expected = nn.functional.cross_entropy(rows, labels)
    assert found.loss == pytest.approx(float(expected))
    assert evaluate(Table(rows[:, :5]), [(images[:1], labels[:1])], 5).top5 is None


def test_wilsons_interval_solves_its_equation_and_holds_its_level() -> None:
    from scipy.stats import binom, norm

    c = norm.ppf(0.975)
    for hits, trials in ((0, 20), (3, 20), (19, 20), (9702, 10000)):
        for bound in wilson(hits, trials):
            if bound not in (0.0, 1.0):
                distance = abs(hits / trials - bound)
                assert distance == pytest.approx(c * (bound * (1 - bound) / trials) ** 0.5)
    low, high = zip(*(wilson(k, 50) for k in range(51)), strict=True)
    truths = [0.03 + 0.94 * i / 40 for i in range(41)]
    coverage = [
        sum(binom.pmf(k, 50, p) for k in range(51) if low[k] <= p <= high[k]) for p in truths
    ]
    assert sum(coverage) / len(coverage) == pytest.approx(0.95, abs=0.01)
