"""A search in a known space: regret over the epochs, and how its parent ranks."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nasbench_snas.architecture.known import Standing
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.ranking import FEWEST_IMAGES, Ranking, plan
from nasbench_snas.search.runner import RunOptions, run_search
from nasbench_snas.stats.agreement import agreement
from nasbench_snas.truth.published import published

TINY = ["data.max_train_images=300", "search.epochs=2", "child.candidates=4", "child.samples=1"]
TINY += ["space.channels=2", "space.stages=1", "child.recalibration_images=32"]


def test_agreement_is_that_of_a_hand_made_ranking() -> None:
    known = [float(i) for i in range(20)]
    swapped = [*known[:-3], 19.0, 18.0, 17.0]  # three pairs of 190 the other way round
    found = agreement(swapped, known)
    assert found["tau"] == pytest.approx(1 - 2 * 3 / 190)
    assert found["overlap"] == 0.5  # the best two are 17 and 18, of which 18 is known as such
    assert agreement(known, known) == {"tau": 1.0, "spearman": 1.0, "overlap": 1.0}
    assert agreement(known[::-1], known)["tau"] == -1.0
    assert agreement([1.0] * 20, known)["tau"] is None


@pytest.mark.parametrize("epochs", [1, 7, 50, 600])
@pytest.mark.parametrize("passes", [0.3, 30.0, 700.0, 1e6])
def test_the_plan_keeps_within_its_passes(epochs: int, passes: float) -> None:
    number, images = plan(passes, epochs, 5000)
    assert 1 <= number <= min(10, epochs)
    assert 1 <= images <= 5000
    assert number * images <= max(passes, 1)
    assert images >= min(FEWEST_IMAGES, passes // 1) or number == 1
    if passes > 10 * 5000 and epochs >= 10:
        assert (number, images) == (10, 5000)


class Toy:
    """Two edges of three operations; accuracy is what the digits say."""

    source, datasets = "made up", ("here", "there")

    def accuracies(self, dataset: str, choices: torch.Tensor) -> list[float]:
        sign = 1 if dataset == "here" else -1
        return [sign * float(3 * a + b) for a, b in choices.tolist()]

    def standing(self, dataset: str, choice: torch.Tensor) -> Standing:
        value = self.accuracies(dataset, choice[None])[0]
        return Standing(value, 8 - value, 100 * value / 9)

    def mean(self, dataset: str) -> float:
        return 4.0

    def sample(self) -> torch.Tensor:
        return torch.tensor([[a, b] for a in range(3) for b in range(3)])


class Images:
    """Images 0 to 49 in batches of eight; an image is its number."""

    splits = SimpleNamespace(train=range(1_000_000))
    reporting = range(50)

    def reported(self):
        for part in torch.arange(50.0).split(8):
            yield part, torch.zeros(len(part), dtype=torch.long)


class Parent(torch.nn.Module):
    """Right on the first images, as many as the architecture's digits say, times five."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: set[int] = set()

    def forward(self, images: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        self.seen |= set(images.int().tolist())
        limit = 5 * (z.argmax(dim=-1) * torch.tensor([3, 1])).sum(dim=-1)
        right = images < limit[:, None]
        return torch.stack([right, ~right], dim=-1).float()


def test_a_parent_that_ranks_as_known_has_tau_one_and_images_are_as_planned() -> None:
    dist = SimpleNamespace(num_operations=3, mode=lambda: torch.eye(3)[torch.tensor([[2, 0]])])
    search = SimpleNamespace(
        dist=dist, parent=Parent(), images=Images(), epoch=0, as_children=nullcontext
    )
    ranking = Ranking(Toy(), search, epochs=4)
    assert ranking.when == {1, 2, 3, 4}
    search.epoch = 1
    event = ranking.epoch()
    assert event["regret"] == {"here": 2.0, "there": 14.0}
    assert event["ranking"]["images"] == 50 and search.parent.seen == set(range(50))
    assert event["ranking"]["datasets"]["here"]["tau"] == 1.0
    assert event["ranking"]["datasets"]["there"]["tau"] == -1.0
    assert event["ranking"]["parent_acc"] == [10.0 * i for i in range(9)]
    result = ranking.result(torch.eye(3)[torch.tensor([1, 1])])
    assert result["datasets"]["here"]["accuracy"] == 4.0
    assert result["datasets"]["here"]["tau"] == 1.0
    assert result["epochs"] == [1] and result["seconds"] > 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict]:
    planned = plan_run(Registry(), "gdas", "nasbench201", assignments=TINY)
    folder = RunFolder(tmp_path_factory.mktemp("runs") / planned.run_id)
    options = RunOptions(kernels="reference")
    return folder, run_search(planned.config, Registry(), folder, options)


def epochs(folder: RunFolder) -> list[dict]:
    return [event for event in folder.events() if event["kind"] == "epoch"]


def test_a_search_on_nasbench201_reports_what_is_published_of_its_child(
    finished: tuple[RunFolder, dict],
) -> None:
    from nasbench_snas.architecture.text import read_genotype
    from nasbench_snas.truth.keys import genotype_to_key

    folder, result = finished
    key = genotype_to_key(read_genotype(folder.path / "genotype.json"))
    for name, values in result["truth"]["datasets"].items():
        record = published().record(key, name)
        assert values["accuracy"] == record.accuracy
        assert (values["regret"], values["percentile"]) == (record.regret, record.percentile)
        assert epochs(folder)[-1]["truth"]["regret"][name] == record.regret  # argmax is the rule
    assert set(result["truth"]["datasets"]) == {"cifar10", "cifar100", "imagenet16_120"}
    assert len(result["truth"]["parent_acc"]) == result["truth"]["sample"] == 200


def test_its_seconds_do_not_contain_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Ranking.epoch

    def slow(self: Ranking) -> dict:
        self.seconds += 1000.0
        return plain(self)

    monkeypatch.setattr(Ranking, "epoch", slow)
    planned = plan_run(Registry(), "gdas", "nasbench201", assignments=TINY)
    folder = RunFolder(tmp_path / planned.run_id)
    result = run_search(planned.config, Registry(), folder, RunOptions(kernels="reference"))
    first, last = epochs(folder)  # the clock has not moved so far as was said
    assert -1000 < first["seconds"] < -900 and -1000 < last["seconds"] < -900
    assert 0 < first["elapsed"] < 100 and -1000 < last["elapsed"] < -900
    assert result["truth"]["seconds"] > 2000


def test_the_comparison_changes_neither_the_run_nor_its_name(
    finished: tuple[RunFolder, dict], tmp_path: Path
) -> None:
    folder, result = finished
    more = [*TINY, "search.track_truth=false"]
    planned = plan_run(Registry(), "gdas", "nasbench201", assignments=more)
    assert planned.run_id == folder.run_id
    other = RunFolder(tmp_path / planned.run_id)
    plain = run_search(planned.config, Registry(), other, RunOptions(kernels="reference"))
    assert plain["truth"] is None
    for now, before in zip(epochs(other), epochs(folder), strict=True):
        assert "truth" not in now
        for key in ("train_loss", "search_loss", "entropy", "search_acc"):
            assert now[key] == before[key]
    assert plain["child_matrix"] == result["child_matrix"]


def test_a_continued_run_measures_the_same(
    finished: tuple[RunFolder, dict], tmp_path: Path
) -> None:
    folder, result = finished
    planned = plan_run(Registry(), "gdas", "nasbench201", assignments=TINY)
    other = RunFolder(tmp_path / planned.run_id)
    options = RunOptions(kernels="reference", max_epochs=1)
    run_search(planned.config, Registry(), other, options)
    again = run_search(planned.config, Registry(), other, RunOptions(kernels="reference"))
    assert [e["truth"] for e in epochs(other)] == [e["truth"] for e in epochs(folder)]
    expected = json.loads(json.dumps({**result["truth"], "seconds": 0}))
    assert json.loads(json.dumps({**again["truth"], "seconds": 0})) == expected
    assert math.isfinite(again["truth"]["seconds"])


def test_the_sample_is_stratified_by_published_accuracy() -> None:
    from nasbench_snas.spaces.nasbench201 import NasBench201

    known = NasBench201().known()
    sample = known.sample()
    assert sample.shape == (200, 6) and len({tuple(r) for r in sample.tolist()}) == 200
    means = published().mean("cifar10")
    found = known.accuracies("cifar10", sample)
    for value, part in zip(found, np.array_split(np.sort(means), 200), strict=True):
        assert part[0] <= value <= part[-1]
    assert known.mean("cifar10") == pytest.approx(published().mean("cifar10").mean())
