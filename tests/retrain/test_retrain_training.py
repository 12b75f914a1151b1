"""One retraining: its loss, its schedules, its speed settings, its exact continuation."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.nn import functional

from nasbench_snas.compute.distributed import World
from nasbench_snas.errors import CheckpointError, DivergedError
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.accuracy import Evaluation
from nasbench_snas.retrain.feed import Prefetched, make_feed
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.runner import (
    find_twin,
    retrain_folder,
    run_retraining,
    take_over,
)
from nasbench_snas.runs.options import RunOptions


def train(config: Any, steps: int = 0, **more: Any) -> Retraining:
    work = Retraining(config, Registry(), **more)
    advance(work, steps)
    return work


def advance(work: Retraining, steps: int) -> list[dict[str, Any]]:
    events = []
    for _ in range(steps):
        work.one_step()
        if work.epoch_finished:
            events.append(work.finish_epoch())
    return events


def weights(work: Retraining) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in work.network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_learning_rate_and_path_dropout_follow_the_published_schedules(tiny: Any) -> None:
    work = train(tiny(**{"training.epochs": 10, "training.lr": 0.025}))
    rates, drops = [], []
    for work.epoch in range(10):
        rates.append(work.rate())
        drops.append(work.drop_path())
    expected = [0.025 * (1 + math.cos(math.pi * e / 10)) / 2 for e in range(10)]
    assert rates == pytest.approx(expected)
    assert drops == pytest.approx([0.3 * e / 10 for e in range(10)])
    decayed = train(tiny(**{"training.schedule": "exponential", "training.lr": 0.1}))
    decayed.epoch = 4
    assert decayed.rate() == pytest.approx(0.1 * 0.97**4)
    warm = train(tiny(**{"training.warmup_epochs": 5, "training.lr": 0.5}))
    assert warm.rate() == pytest.approx(0.1)


def test_a_step_is_clipped_sgd_on_the_smoothed_loss_with_the_auxiliary_head(tiny: Any) -> None:
    config = tiny(
        **{
            "training.label_smoothing": 0.1,
            "training.clip": 0.5,
            "training.drop_path": 0.0,
            "training.weight_decay": 0.01,
        }
    )
    work, other = train(config), train(config)
    before = {n: p.detach().clone() for n, p in work.network.named_parameters()}
    images, labels = other.feed.train.next_batch()
    other.network.train()
    output = other.network(images)

    def smoothed(logits: torch.Tensor) -> torch.Tensor:
        log = functional.log_softmax(logits, dim=1)
        right = log.gather(1, labels[:, None]).mean()
        return -(0.9 * right + 0.1 * log.mean())

    loss = smoothed(output.logits) + 0.4 * smoothed(output.auxiliary)
    loss.backward()
    grads = {n: p.grad for n, p in other.network.named_parameters() if p.grad is not None}
    norm = torch.stack([g.norm() for g in grads.values()]).norm()
    assert norm > 0.5, "clipping must act"
    work.one_step()
    for name, parameter in work.network.named_parameters():
        if name in grads:
            step = grads[name] * 0.5 / norm + 0.01 * before[name]
            expected = before[name] - config.training.lr * step
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)
    assert float(work.sums[0]) == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"speed.placement": "host"}])
def test_continuing_from_any_step_is_bit_equal(tiny: Any, settings: dict[str, Any]) -> None:
    config = tiny(**{"data.augment.cutout": 3, **settings})
    straight = train(config)
    events = advance(straight, 6)
    for stop in (2, 3, 5):
        first = train(config)
        advance(first, stop)
        second = train(config)
        second.load_state_dict(first.state_dict())
        later = advance(second, 6 - stop)
        assert equal(weights(second), weights(straight))
        assert later[-1] == events[-1]


def test_where_images_are_held_does_not_change_them(tiny: Any) -> None:
    def batches(**settings: Any) -> list[torch.Tensor]:
        feed = make_feed(tiny(**settings), torch.device("cpu"), World())
        return [feed.train.next_batch()[0] for _ in range(5)]

    reference = batches()
    for placement in (
        {"speed.placement": "host"},
        {"speed.placement": "host", "speed.prefetch": False},
    ):
        for one, other in zip(batches(**placement), reference, strict=True):
            assert torch.equal(one, other)


def test_a_network_has_an_output_for_every_class_even_if_few_images_are_used(tiny: Any) -> None:
    few = {"data.fake.classes": 7, "data.max_train_images": 3, "data.max_test_images": 3}
    work = train(tiny(**few, **{"training.batch_size": 2}))
    assert work.feed.num_classes == 7
    assert work.network.head.linear.out_features == 7


class Lane:
    """A CUDA stream that only writes down what waits for it."""

    log: ClassVar[list[str]] = []

    def wait_stream(self, other: Lane) -> None:
        self.log.append("wait")


def test_on_a_gpu_a_step_waits_for_its_own_batch_and_not_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []
    monkeypatch.setattr(Lane, "log", log)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Lane())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Lane())
    monkeypatch.setattr(torch.cuda, "stream", lambda lane: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, lane: log.append("record"))

    class Numbers:
        position = 0

        def __len__(self) -> int:
            return 3

        def next_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
            self.position += 1
            log.append(f"read {self.position}")
            return torch.zeros(1), torch.zeros(1)

        def state_dict(self) -> dict[str, Any]:
            return {}

    ahead = Prefetched(Numbers(), torch.device("cuda"))  # type: ignore[arg-type]
    ahead.next_batch()
    ahead.next_batch()
    given = ["wait", "record", "record"]
    assert log == ["read 1", *given, "read 2", *given, "read 3"]


def test_a_checkpoint_of_other_images_is_refused(tiny: Any) -> None:
    state = train(tiny(), 1).state_dict()
    with pytest.raises(CheckpointError, match="not those that this retraining began with"):
        train(tiny(**{"data.fake.train_images": 49})).load_state_dict(state)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_low_precision_trains_full_precision_weights(tiny: Any, amp: str) -> None:
    work, full = train(tiny(**{"training.amp": amp}), 3), train(tiny(), 3)
    assert all(p.dtype == torch.float32 for p in work.network.parameters())
    own, reference = float(work.sums.sum()), float(full.sums.sum())
    assert own == pytest.approx(reference, rel=0.1, abs=0.3)
    state = work.state_dict()
    if amp == "fp16":
        assert state["scaler"]["scale"] > 0
        again = train(tiny(**{"training.amp": amp}))
        state["scaler"]["scale"] = 8.0
        again.load_state_dict(state)
        assert again.scaler.get_scale() == 8.0


def test_an_overflow_of_scaled_gradients_skips_the_step_and_lowers_the_scale(tiny: Any) -> None:
    work = train(tiny(**{"training.amp": "fp16"}))
    work.scaler.load_state_dict({**work.scaler.state_dict(), "scale": 2.0**120})
    before = {n: p.detach().clone() for n, p in work.network.named_parameters()}
    work.one_step()
    assert all(torch.equal(before[n], p) for n, p in work.network.named_parameters())
    assert work.scaler.get_scale() == 2.0**119


def test_channels_last_is_only_a_layout(tiny: Any) -> None:
    config = tiny(**{"speed.channels_last": True})
    work, plain = train(config), train(tiny())
    images, _ = work.feed.train.next_batch()
    assert images.is_contiguous(memory_format=torch.channels_last)
    work = train(config, 2)
    advance(plain, 2)
    assert float(work.sums[0]) == pytest.approx(float(plain.sums[0]), rel=1e-4)


@pytest.mark.slow
def test_a_compiled_network_trains_the_same_weights(tiny: Any) -> None:
    compiled = train(tiny(**{"speed.compile": "eager"}), 4)
    plain = train(tiny(), 4)
    own, reference = weights(compiled), weights(plain)
    assert own.keys() == reference.keys()
    for name in own:
        torch.testing.assert_close(own[name], reference[name], rtol=1e-2, atol=1e-3)


def test_a_diverged_retraining_says_where_and_leaves_no_result(tiny: Any, tmp_path: Path) -> None:
    config = tiny(**{"training.lr": 1e30, "training.clip": 0.0})
    folder = retrain_folder(tmp_path, config)
    with pytest.raises(DivergedError, match="It happened at epoch 1"):
        run_retraining(config, Registry(), folder, RunOptions())
    assert folder.status()["status"] == "diverged"
    assert folder.result() is None


def test_the_result_is_the_last_epoch_and_never_the_best(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([30, 12, 9])
    right: list[int] = []

    def look(self: Retraining) -> Evaluation:
        right.append(next(found))
        return Evaluation(30, right[-1], None, 1.0, torch.zeros(3, 3))

    monkeypatch.setattr(Retraining, "evaluate", look)
    config = tiny(**{"training.test_every": 1})
    folder = retrain_folder(tmp_path, config)
    result = run_retraining(config, Registry(), folder, RunOptions())
    assert [e["test_acc"] for e in folder.events()] == [100.0, 40.0]
    assert result["test_err_top1"] == 70.0
    assert result["test_err_top5"] is None


def test_a_retraining_leaves_a_folder_that_names_its_parent_and_is_not_trained_twice(
    tiny: Any, tmp_path: Path
) -> None:
    config = tiny().model_copy(update={"parent": "search-s3"})
    folder = retrain_folder(tmp_path, config)
    parent = {"estimator": "snas", "seed": 3, "preset": "paper", "gpu_days": 1.5}
    result = run_retraining(config, Registry(), folder, RunOptions(), parent=parent)
    assert (result["parent_id"], result["stage"], result["seed"]) == ("search-s3", "retrain", 3)
    assert (result["preset"], result["search_preset"]) == ("smoke", "paper")
    assert result["search_gpu_days"] == 1.5 and result["retrain_seed"] == 0
    assert folder.status()["status"] == "done"
    work = train(config)
    own = sum(p.numel() for n, p in work.network.named_parameters() if "auxiliary" not in n)
    assert result["params"] == own
    chosen = config.model_copy(update={"selection": "best of n", "candidates": ("a", "b")})
    twin = find_twin(tmp_path, chosen)
    assert twin == folder
    second = retrain_folder(tmp_path, chosen)
    taken = take_over(chosen, folder, second)
    assert second.path != folder.path
    assert (taken["selection"], taken["taken_from"]) == ("best of n", folder.run_id)
    assert taken["test_err_top1"] == result["test_err_top1"]
    assert folder.result()["selection"] == "each seed"  # type: ignore[index]
    assert find_twin(tmp_path, tiny(seed=1)) is None


@pytest.mark.slow
def test_a_small_network_learns_made_up_classes(tiny: Any, tmp_path: Path) -> None:
    config = tiny(
        **{
            "data.fake.train_images": 192,
            "training.epochs": 8,
            "training.drop_path": 0.1,
            "network.channels": 4,
        }
    )
    result = run_retraining(config, Registry(), retrain_folder(tmp_path, config), RunOptions())
    assert result["test_err_top1"] < 30, "chance is 67 %"


def test_no_global_generator_is_touched(tiny: Any) -> None:
    before = torch.random.get_rng_state()
    train(tiny(), 4).evaluate()
    assert torch.equal(before, torch.random.get_rng_state())
