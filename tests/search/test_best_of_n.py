"""The derive rule best-of-N: who selects, by which images, and what it is reported on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasbench_snas.api import Categorical, SearchState
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.data import load_splits
from nasbench_snas.data.settings import DataSettings
from nasbench_snas.data.splits import divide
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.child import accuracies, accuracy
from nasbench_snas.search.load import load_search
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.rules import BestOfN
from nasbench_snas.search.runner import RunOptions, run_search
from nasbench_snas.search.selection import Selection, select
from nasbench_snas.settings.run import from_toml, recorded
from nasbench_snas.settings.toml import to_toml

TINY = ["data.max_train_images=240", "search.epochs=1", "child.candidates=12", "space.channels=2"]
TINY += ["child.samples=1", "child.recalibration_images=32"]


class Lookup(nn.Module):
    """Classifies image ``i`` rightly if ``i`` is below a number that the architecture encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))  # says where the network is
        self.seen: list[Tensor] = []
        self.asked = 0

    def forward(self, images: Tensor, z: Tensor) -> Tensor:
        self.seen.append(images.flatten())
        self.asked += len(z)
        limit = (z.argmax(dim=-1) * torch.tensor([3, 1])).sum(dim=-1)
        right = images.flatten() < limit[:, None]
        return torch.stack([right, ~right], dim=-1).float()


def batches(low: int, high: int):
    images = torch.arange(low, high)
    return lambda: [(part, torch.zeros_like(part)) for part in images.split(3)]


SPACE = Space(
    name="two edges",
    operations=("skip_connect", "sep_conv_3x3", "none"),
    cells=(CellType("cell", 1, 2, ((0, 1), (0, 2))),),
    layers=(Layer("cell", 4, 1, "cell"),),
    stem_channels=4,
    in_channels=1,
    num_classes=2,
    resolution=8,
)


def best_of(parent: Lookup, seed: int, candidates: int, low: int, high: int) -> Selection:
    state = SearchState(
        SPACE,
        Categorical(torch.zeros(2, 3)),
        torch.Generator().manual_seed(seed),
        candidates=candidates,
        measure=lambda z: accuracies(parent, z, batches(low, high)),
    )
    return select(BestOfN(), state, high - low)


def test_the_best_of_all_draws_is_kept() -> None:
    found = best_of(Lookup(), 0, 200, 0, 8)
    assert found.z.tolist() == [[0, 0, 1], [0, 0, 1]]  # 3 * 2 + 2 = 8: all images right
    assert (found.accuracy, found.candidates, found.distinct, found.images) == (100.0, 200, 9, 8)


def test_one_that_is_drawn_again_is_measured_once_and_the_first_of_equal_ones_is_kept() -> None:
    dist, seed = Categorical(torch.zeros(2, 3)), 3
    drawn = dist.hard(dist.noise(1, 40, torch.Generator().manual_seed(seed)))[0]
    parent = Lookup()
    found = best_of(parent, seed, 40, 90, 96)
    assert torch.equal(found.z, drawn[0])  # all have no image right
    assert parent.asked == found.distinct * 2  # two batches each
    assert found.distinct == len({tuple(row) for row in drawn.argmax(dim=-1).tolist()}) <= 9


@pytest.mark.parametrize("fraction", [0.3, 0.5])
def test_parts_share_nothing_lose_nothing_and_keep_the_classes(fraction: float) -> None:
    splits = load_splits(DataSettings(dataset="digits"), 0)
    chosen, rest = divide(splits.search_valid, fraction, 0, "digits")
    assert chosen is not None
    together = torch.cat([chosen.indices, rest.indices]).sort().values
    assert torch.equal(together, splits.search_valid.indices)
    whole = torch.bincount(splits.search_valid.gather()[1], minlength=10)
    part = torch.bincount(chosen.gather()[1], minlength=10)
    assert (part - fraction * whole).abs().max() <= 1


def test_every_estimator_and_rule_is_reported_on_the_same_images() -> None:
    parts = []
    for estimator, more in (("snas", []), ("random", []), ("darts", ["child.rule=best-of-N"])):
        config = plan_run(Registry(), estimator, "snas-unit", assignments=[*TINY, *more]).config
        for bilevel in (False, True):
            splits = load_splits(config.data, config.seed, bilevel=bilevel)
            fraction = config.child.selection_fraction
            parts.append(divide(splits.search_valid, fraction, config.seed, "digits")[1].indices)
    assert all(torch.equal(part, parts[0]) for part in parts)


def test_a_part_that_would_be_empty_is_refused() -> None:
    splits = load_splits(DataSettings(dataset="digits"), 0)
    with pytest.raises(ConfigError, match=r"selection_fraction = 0\.001"):
        divide(splits.search_valid, 0.001, 0, "digits")
    assert divide(splits.search_valid, 0.0, 0, "digits") == (None, splits.search_valid)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict]:
    plan = plan_run(Registry(), "snas", "snas-unit", assignments=[*TINY, "child.rule=best-of-N"])
    folder = RunFolder(tmp_path_factory.mktemp("runs") / plan.run_id)
    options = RunOptions(kernels="reference")
    return folder, run_search(plan.config, Registry(), folder, options)


def test_any_estimator_can_be_derived_so_and_its_child_is_reported_on_other_images(
    finished: tuple[RunFolder, dict],
) -> None:
    folder, result = finished
    search = load_search(folder, Registry())
    chosen = search.selected()
    assert result["derive_rule"] == "best-of-N"
    assert (result["n_candidates"], result["n_distinct_candidates"]) == (12, chosen.distinct)
    assert result["selection_images"] == len(search.images.selection.indices)
    assert result["reporting_images"] == len(search.images.reporting.indices)
    assert result["selection_acc"] == pytest.approx(chosen.accuracy)
    reported = accuracy(search.parent, chosen.z[None], search.images.reported())
    assert result["child_valid_acc"] == pytest.approx(float(reported[0]))
    views = {(c["view"], c["statistics"]): c["accuracy"] for c in result["child_matrix"]}
    assert views["best-of-N", "inherited"] == result["child_valid_acc"]
    assert views["best-of-N", "recalibrated"] == result["child_valid_acc_recalibrated"]


def test_reporting_images_select_nothing(finished: tuple[RunFolder, dict]) -> None:
    search = load_search(finished[0], Registry())
    before = search.selected().z
    part = search.images.reporting
    labels = part.labels.clone()
    labels[part.indices] = (labels[part.indices] + 1) % 10
    part.labels.copy_(labels)  # the labels of all images that report are wrong now
    search._selected = None
    assert torch.equal(search.selected().z, before)
    other = search.images.selection
    assert other is not None
    other.labels[other.indices] = (other.labels[other.indices] + 1) % 10
    search._selected = None
    assert search.selected().accuracy != finished[1]["selection_acc"]


def test_the_cost_of_the_selection_is_part_of_the_search(
    finished: tuple[RunFolder, dict],
) -> None:
    folder, result = finished
    elapsed = [e for e in folder.events() if e["kind"] == "epoch"][-1]["elapsed"]
    assert result["selection_s"] > 0
    assert result["wall_s"] >= elapsed + result["selection_s"] - 1e-6


def test_random_search_and_enas_select_and_random_sampling_does_not() -> None:
    registry = Registry()
    rules = {name: registry.estimator(name).derive_rule for name in ("random", "enas", "snas")}
    assert rules == {"random": "best-of-N", "enas": "best-of-N", "snas": "argmax"}
    assert registry.estimator("random-sampling").derive_rule == "argmax"


def test_nothing_to_select_by_is_refused_before_the_training(tmp_path: Path) -> None:
    plan = plan_run(
        Registry(), "random", "snas-unit", assignments=[*TINY, "child.selection_fraction=0"]
    )
    folder = RunFolder(tmp_path / plan.run_id)
    with pytest.raises(ConfigError, match="no images to select by"):
        run_search(plan.config, Registry(), folder, RunOptions(kernels="reference"))


def test_a_run_of_before_has_no_selection_part_and_keeps_its_hash() -> None:
    config = plan_run(Registry(), "snas", "snas-unit", assignments=TINY).config
    text = to_toml(config, {})
    assert from_toml(text).child.selection_fraction == 0.5
    lines = text.splitlines()
    names = ("rule", "candidates", "selection_fraction")
    kept = [line for line in lines if not line.startswith(names)]
    assert len(kept) == len(lines) - 3
    before = from_toml("\n".join(kept))
    assert before.child.selection_fraction == 0
    assert not {*names} & before.identity(1)["child"].keys()
    assert before.digest(1) != config.digest(1)
    assert before.comparison() != config.comparison()
    assert recorded(before.model_dump()) == before
