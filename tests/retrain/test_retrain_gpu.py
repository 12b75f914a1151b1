"""What only a GPU can show: precision, layout, pinned copies and compilation together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nasbench_snas.registry import Registry
from nasbench_snas.retrain.loop import Retraining

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def train(config: Any, steps: int) -> Retraining:
    work = Retraining(config, Registry(), "cuda:0")
    for _ in range(steps):
        work.one_step()
    return work


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_all_speed_settings_train_on_a_gpu(tiny: Any, amp: str) -> None:
    fast = {"speed.channels_last": True, "speed.placement": "host", "training.amp": amp}
    work, plain = train(tiny(**fast), 3), train(tiny(), 3)
    assert torch.isfinite(work.sums).all()
    assert float(work.sums[0]) == pytest.approx(float(plain.sums[0]), rel=0.1)


def test_images_do_not_depend_on_where_they_are_held(tiny: Any) -> None:
    host, device = train(tiny(**{"speed.placement": "host"}), 0), train(tiny(), 0)
    for _ in range(5):
        one, other = host.feed.train.next_batch(), device.feed.train.next_batch()
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_a_compiled_network_trains_on_a_gpu(tiny: Any) -> None:
    work, plain = train(tiny(**{"speed.compile": "inductor"}), 3), train(tiny(), 3)
    assert float(work.sums[0]) == pytest.approx(float(plain.sums[0]), rel=1e-2)
