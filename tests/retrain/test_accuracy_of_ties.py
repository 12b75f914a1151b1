"""Equal logits count for the first class, as in training; logits that are not finite for none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasbench_snas.errors import DivergedError
from nasbench_snas.retrain.accuracy import evaluate
from nasbench_snas.search.child import accuracy

LABELS = torch.arange(100) % 10


class Fixed(nn.Module):
    """Answers with the same logits for every image, for one architecture or several."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor, z: Tensor | None = None) -> Tensor:
        single = self.logits.expand(len(images), -1)
        return single if z is None else single.expand(len(z), -1, -1)


def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.zeros(100, 1), LABELS)]


@pytest.mark.parametrize("first", [0, 3, 8])
def test_of_equal_logits_the_first_class_counts_as_in_training(first: int) -> None:
    logits = torch.zeros(10)
    logits[:first] = -1.0
    found = evaluate(Fixed(logits), batches(), 10)
    assert found.confusion[:, first].sum() == 100
    assert found.top1 == int((logits.expand(100, -1).argmax(dim=1) == LABELS).sum())


def test_of_equal_logits_the_first_five_classes_are_the_five_best() -> None:
    found = evaluate(Fixed(torch.zeros(10)), batches(), 10)
    assert found.top5 == int((LABELS < 5).sum())


def test_a_tie_in_half_precision_is_a_tie() -> None:
    logits = torch.full((10,), 300.0, dtype=torch.bfloat16)
    assert evaluate(Fixed(logits), batches(), 10).confusion[:, 0].sum() == 100


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("everywhere", [True, False])
def test_logits_that_are_not_finite_are_refused(value: float, everywhere: bool) -> None:
    logits = torch.zeros(10)
    logits[slice(None) if everywhere else slice(7, 8)] = value
    with pytest.raises(DivergedError, match="100 of 100 images"):
        evaluate(Fixed(logits), batches(), 10)
    with pytest.raises(DivergedError, match="NaN or infinite"):
        accuracy(Fixed(logits), torch.zeros(2, 3, 4), batches())


def test_the_mode_is_restored_before_logits_are_refused() -> None:
    network = Fixed(torch.full((10,), float("nan"))).train()
    with pytest.raises(DivergedError):
        evaluate(network, batches(), 10)
    assert network.training
