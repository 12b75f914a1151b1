"""What the adapter of the authors' file refuses, with a stand-in for their package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nasbench_snas.errors import ConfigError, DataError, GenotypeError, MissingDependencyError
from nasbench_snas.truth.keys import key_to_string, key_to_tuple
from nasbench_snas.truth.nats import TopologyBenchmark

KEYS = ("000000", "333132", "210432")


class Api:
    """Behaves as the package does: -1 for what it does not know, and -1 is the last."""

    def __init__(self, archs: list[str]) -> None:
        self.archs, self.asked = archs, []  # type: ignore[var-annotated]
        self.error: BaseException | None = None

    def arch(self, index: int) -> str:
        return self.archs[index]

    def query_index_by_arch(self, text: Any) -> int:
        return self.archs.index(text) if text in self.archs else -1

    def get_more_info(self, index: int, dataset: str, hp: str, is_random: bool) -> dict[str, Any]:
        assert type(index) is int and is_random is False
        if self.error is not None:
            raise self.error
        self.asked.append((self.archs[index], dataset, hp))
        return {"test-accuracy": np.float64(90 + index), "train-loss": None, "comment": "words"}

    def query_meta_info_by_index(self, index: int, hp: str) -> Any:
        return SimpleNamespace(get_dataset_seeds=lambda dataset: [777, 888])

    def get_cost_info(self, index: int, dataset: str, hp: str) -> dict[str, float]:
        return {"flops": 220.11969}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api([key_to_string(key) for key in KEYS])
    fake = SimpleNamespace(create=lambda *a, **k: made)
    monkeypatch.setitem(sys.modules, "nats_bench", fake)
    return made


def test_the_package_and_the_file_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    with pytest.raises(MissingDependencyError, match="nats_bench"):
        TopologyBenchmark(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=None))
    with pytest.raises(DataError, match="no NATS-Bench file"):
        TopologyBenchmark(str(tmp_path / "file"))


def test_every_form_of_a_name_asks_for_the_same_string(api: Api, tmp_path: Path) -> None:
    benchmark = TopologyBenchmark(str(tmp_path))
    text = key_to_string("333132")
    for name in ("333132", text, text + "\n", str(key_to_tuple("333132"))):
        found = benchmark.measured(name)
        assert (found.mean, found.seeds) == (91.0, 2)
    assert api.asked == [(text, "cifar10", "200")] * 4


def test_an_unknown_architecture_is_not_the_last_one(api: Api, tmp_path: Path) -> None:
    benchmark = TopologyBenchmark(tmp_path)
    with pytest.raises(DataError, match="no such architecture"):
        benchmark.measured("444444")
    reordered = "|none~0|+|nor_conv_1x1~1|none~0|+|none~0|none~1|none~2|"
    for wrong in (reordered, "3331320", "", "-1"):
        with pytest.raises(GenotypeError):
            benchmark.measured(wrong)
    assert api.asked == []


@pytest.mark.parametrize(
    "error",
    [AssertionError("invalid data path"), EOFError(), KeyError("200"), ValueError(), OSError()],
)
def test_a_damaged_or_missing_record_is_our_error(
    api: Api, tmp_path: Path, error: Exception
) -> None:
    benchmark = TopologyBenchmark(tmp_path)
    api.error = error
    with pytest.raises(DataError, match=f"cannot read the record.*{type(error).__name__}"):
        benchmark.measured("333132")


def test_words_are_no_metric_and_a_missing_number_says_what_there_is(
    api: Api, tmp_path: Path
) -> None:
    benchmark = TopologyBenchmark(tmp_path)
    with pytest.raises(ConfigError, match="'comment'"):
        benchmark.measured("333132", metric="comment")
    with pytest.raises(DataError, match="no 'train-loss'.*") as caught:
        benchmark.measured("333132", metric="train-loss")
    assert "It has: test-accuracy." in str(caught.value)
    for wrong in ({"dataset": "mnist"}, {"epochs": 90}):
        with pytest.raises(ConfigError):
            benchmark.measured("333132", **wrong)  # type: ignore[arg-type]


def test_the_size_space_and_the_older_file_are_refused(api: Api, tmp_path: Path) -> None:
    api.archs[0] = "64:64:64:64:64"
    with pytest.raises(DataError, match="not of the topology space"):
        TopologyBenchmark(tmp_path)
    older = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    older.touch()
    with pytest.raises(DataError, match="before NATS-Bench"):
        TopologyBenchmark(older)


def test_flops_of_the_file_are_our_multiply_adds_and_one_a_class(api: Api, tmp_path: Path) -> None:
    from nasbench_snas.cost.network import network_parts, total
    from nasbench_snas.spaces.nasbench201 import NasBench201
    from nasbench_snas.supernet.child.plan import plan_in_space
    from nasbench_snas.truth.keys import key_to_genotype

    api.archs[0] = key_to_string("333333")  # published with 220.11969 million "flops"
    space = NasBench201().build(3, 10, 32)
    ours = total(network_parts(plan_in_space(key_to_genotype("333333"), space))).macs
    assert TopologyBenchmark(tmp_path).multiply_adds("333333") == ours == 220_119_680
