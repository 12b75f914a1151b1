"""Checkpoints and seeds do not depend on the kind of device; shown without a GPU."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from nasbench_snas.compute.device import resolve_device
from nasbench_snas.errors import CheckpointError
from nasbench_snas.registry import Registry
from nasbench_snas.runs import checkpoint as checkpoints
from nasbench_snas.runs.checkpoint import load_checkpoint, save_checkpoint
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.search.load import load_search
from nasbench_snas.search.plan import PlannedRun, plan_run
from nasbench_snas.search.runner import run_search
from nasbench_snas.seeding import STATE_BYTES, restore_generator, seeded_init, stream

SETTINGS = [
    "data.dataset=fake", "data.fake.channels=1", "data.fake.train_images=80", "search.epochs=2",
    "search.batch_size=16", "space.nodes=1", "space.cells=1", "space.channels=2",
    "child.samples=1", "child.recalibration_images=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def planned() -> PlannedRun:
    return plan_run(Registry(), "snas", "darts-cnn", assignments=SETTINGS)


def run(folder: RunFolder, planned: PlannedRun, **options: Any) -> dict[str, Any]:
    return run_search(
        planned.config, Registry(), folder, RunOptions(kernels="reference", **options)
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, planned: PlannedRun) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("device") / "run")
    run(folder, planned, max_epochs=1)
    return folder


def cuda_like(state: Any) -> Any:
    """Return a checkpoint's state with the generators' states that a GPU would have written."""
    if isinstance(state, dict):
        return {key: cuda_like(value) for key, value in state.items()}
    if torch.is_tensor(state) and state.dtype == torch.uint8:
        assert state.numel() == STATE_BYTES["cpu"]
        return state[: STATE_BYTES["cuda"]].clone()
    return state


def rewritten(begun: RunFolder, planned: PlannedRun, to: Path) -> RunFolder:
    """Return a copy of a run as if it had been begun on a GPU."""
    import shutil

    shutil.copytree(begun.path, to)
    folder = RunFolder(to)
    digest = planned.config.digest(1)
    state = cuda_like(load_checkpoint(folder.checkpoint_file, config_hash=digest))
    save_checkpoint(folder.checkpoint_file, state, config_hash=digest)
    return folder


def test_a_checkpoint_is_read_to_the_host_whatever_the_device_of_the_run(
    begun: RunFolder, planned: PlannedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    load = torch.load

    def noted(*arguments: Any, **options: Any) -> Any:
        places.append(options["map_location"])
        return load(*arguments, **options)

    monkeypatch.setattr(checkpoints.torch, "load", noted)
    run(begun, planned, max_epochs=1)
    load_search(begun, Registry(), device="cpu")
    assert places and set(places) == {"cpu"}
    assert "device" not in inspect.signature(load_checkpoint).parameters


def test_a_continued_search_keeps_its_history_and_adams_steps_on_the_host(
    begun: RunFolder, planned: PlannedRun
) -> None:
    """Parameters that live elsewhere (``meta`` here) do not take Adam's steps along."""
    state = load_checkpoint(begun.checkpoint_file, config_hash=planned.config.digest(1))["search"]
    assert all(probs.device.type == "cpu" for probs in state["history"])
    adam = torch.optim.Adam([torch.zeros(1, 2, 8, device="meta", requires_grad=True)])
    saved = state["alpha_optimizer"]
    shape = saved["state"][0]["exp_avg"].shape
    adam = torch.optim.Adam([torch.zeros(shape, device="meta", requires_grad=True)])
    adam.load_state_dict(saved)
    (own,) = adam.state.values()
    assert own["step"].device.type == "cpu" and own["exp_avg"].device.type == "meta"


def test_a_run_begun_on_a_gpu_continues_on_a_cpu_and_says_what_changes(
    begun: RunFolder, planned: PlannedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = []
    for name in ("one", "two"):
        folder = rewritten(begun, planned, tmp_path / name)
        with caplog.at_level(logging.WARNING, logger="nasbench_snas"):
            results.append(run(folder, planned)["search_valid_acc"])
    assert "another kind of device" in caplog.text
    assert results[0] == results[1]


def test_a_run_of_a_gpu_is_read_on_a_cpu(
    begun: RunFolder, planned: PlannedRun, tmp_path: Path
) -> None:
    folder = rewritten(begun, planned, tmp_path / "run")
    search, same = load_search(folder, Registry()), load_search(begun, Registry())
    for (_, one), (_, other) in zip(
        search.dist.named_parameters(), same.dist.named_parameters(), strict=True
    ):
        assert torch.equal(one, other)
    assert search.epoch == 1


def test_the_state_of_no_generator_is_still_damage(
    begun: RunFolder, planned: PlannedRun, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no state of a generator"):
        restore_generator(torch.Generator(), torch.zeros(17, dtype=torch.uint8))
    folder = rewritten(begun, planned, tmp_path / "run")
    digest = planned.config.digest(1)
    state = load_checkpoint(folder.checkpoint_file, config_hash=digest)
    state["search"]["generators"]["noise"] = torch.zeros(17, dtype=torch.uint8)
    save_checkpoint(folder.checkpoint_file, state, config_hash=digest)
    with pytest.raises(CheckpointError, match="damaged or foreign"):
        run(folder, planned)


def test_a_state_of_the_same_kind_is_taken_up_exactly() -> None:
    one = stream(3, "x")
    state = one.get_state()
    first = torch.rand(4, generator=one)
    other = torch.Generator()
    assert restore_generator(other, state)
    assert torch.equal(torch.rand(4, generator=other), first)


def test_seeded_initialisation_seeds_the_hosts_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``torch.manual_seed`` would seed those of the GPUs as well and never put them back."""

    def refused(seed: int) -> None:
        raise AssertionError("every device was seeded")

    monkeypatch.setattr(torch, "manual_seed", refused)
    before = torch.get_rng_state()
    with seeded_init(stream(0, "a")):
        one = torch.rand(3)
    with seeded_init(stream(0, "a")):
        assert torch.equal(torch.rand(3), one)
    assert torch.equal(torch.get_rng_state(), before)


def test_deterministic_runs_fill_no_empty_tensor_and_make_their_device_the_current_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    filled = torch.utils.deterministic.fill_uninitialized_memory
    try:
        assert resolve_device("cuda:1") == "cuda:1"
        assert chosen == [1]
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        torch.utils.deterministic.fill_uninitialized_memory = True
        assert torch.empty(3).isnan().all()  # what would happen
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = filled
