"""Two processes are one: same noise, same images, same gradients, in float64 and over gloo."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from nasbench_snas.compute.distributed import SynchronisedBatchNorm2d, World, resumed_note
from nasbench_snas.errors import ConfigError

HERE = Path(__file__).parent
NAMES = (
    "snas-joint",
    "reinforce-joint",
    "relax-joint",
    "darts-bilevel",
    "snas-fair",
    "darts-unrolled",
    "darts-difference",
)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


scenarios = load("scenarios")
launching = load("launching")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes measured."""
    folder = tmp_path_factory.mktemp("two")
    script = str(HERE / "scenarios.py")
    codes = launching.finish(launching.start([script, str(folder)], 2, folder), folder)
    assert codes == [0, 0], launching.logs(folder)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


def difference(one: Any, other: Any) -> float:
    """Largest absolute difference of two nested measurements."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        return max((difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    one, other = torch.as_tensor(one).double(), torch.as_tensor(other).double()
    return float((one - other).abs().max()) if one.numel() else 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_equal_one_with_the_doubled_batch(
    ranks: list[dict[str, Any]], name: str
) -> None:
    alone = scenarios.measure(name, World())
    started = scenarios.build(name, World())
    moved = difference(alone["theta"], dict(started.parent.state_dict()))
    assert moved > 1e-3, "nothing was trained"
    for rank in ranks:
        for key in ("theta", "alpha", "estimator", "losses", "valid"):
            assert difference(rank[name][key], alone[key]) < 1e-9, key


@pytest.mark.slow
def test_a_retraining_by_two_processes_equals_one(ranks: list[dict[str, Any]]) -> None:
    alone = scenarios.retrain(World())
    assert alone["event"]["drop_path"] == 0.25
    for rank in ranks:
        assert difference(rank["retrain"], alone) < 1e-9


@pytest.mark.slow
def test_every_process_draws_the_same_architecture_and_other_images(
    ranks: list[dict[str, Any]],
) -> None:
    alone = scenarios.measure("snas-joint", World())
    first, second = (rank["snas-joint"] for rank in ranks)
    assert torch.equal(first["noise"], second["noise"])
    assert torch.equal(first["noise"], alone["noise"])
    assert len(first["images"]) == len(alone["images"]) // 2
    assert torch.equal(torch.cat([first["images"], second["images"]]), alone["images"])


@pytest.mark.slow
def test_local_batch_norms_leave_equal_networks_that_differ_from_synchronised_ones(
    ranks: list[dict[str, Any]],
) -> None:
    first, second = (rank["local"] for rank in ranks)
    assert difference(first, second) == 0
    assert difference(first, ranks[0]["snas-joint"]["theta"]) > 1e-6


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_synchronised_batch_norm_takes_what_autocast_gives_it(kind: torch.dtype) -> None:
    x = 3 + torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    own, plain = SynchronisedBatchNorm2d(4), torch.nn.BatchNorm2d(4)
    found, expected = own(x.to(kind)), plain(x.to(kind).float())
    assert found.dtype == kind
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=2e-2)
    torch.testing.assert_close(own.running_mean, plain.running_mean)
    torch.testing.assert_close(own.running_var, plain.running_var)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    assert World(1, 2).rows(8) == slice(4, 8)
    with pytest.raises(ConfigError, match="9 images cannot be shared by 2 processes"):
        World(0, 2).rows(9)


def test_resuming_with_another_number_of_processes_says_what_changes() -> None:
    assert resumed_note(2, 2, False) == ""
    assert "batch norms see another share" in resumed_note(1, 2, False)
    assert "batch norms" not in resumed_note(2, 1, True)
