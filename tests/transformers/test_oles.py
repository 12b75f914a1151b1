"""OLES: the rule against sums by hand, and that frozen operations do not move."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.search.operations import OperationWatch
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.testing import TransformerConformance
from nasbench_snas.transformers.oles import Oles

TINY = ["data.dataset=fake", "data.fake.train_images=96", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=3", "child.samples=1"]
TINY += ["search.level=bilevel", 'transformers=["oles"]']


class TestKit(TransformerConformance):
    transformer = Oles


def search(*more: str, estimator: str = "darts") -> Search:
    plan = plan_run(Registry(), estimator, "snas-unit", assignments=[*TINY, *more])
    return Search(plan.config, Registry())


def at_angle(cosine: float) -> tuple[Tensor, Tensor]:
    """Two vectors with this cosine, of other lengths."""
    first = torch.tensor([2.0, 0.0, 0.0])
    return first, 3 * torch.tensor([cosine, (1 - cosine**2) ** 0.5, 0.0])


@pytest.mark.parametrize("comparisons", [1, 3])
def test_an_operation_freezes_when_the_mean_of_its_cosines_is_low(comparisons: int) -> None:
    made = Oles(comparisons=comparisons, threshold=0.4)
    course = {"a": [0.9, 0.1, 0.3, 0.0, 0.1, 0.2], "b": [0.5] * 6, "c": [-0.5, 0.9, 0.9] * 2}
    frozen: dict[str, int] = {}
    for number in range(6):
        open_now = [name for name in course if name not in frozen]
        pairs = {name: at_angle(course[name][number]) for name in open_now}
        train, valid = ({n: pair[side] for n, pair in pairs.items()} for side in (0, 1))
        for name in made.freeze(train, valid):
            frozen[name] = number
    expected = {}
    for name, values in course.items():
        for end in range(comparisons, 7, comparisons):
            if sum(values[end - comparisons : end]) / comparisons < 0.4:
                expected[name] = end - 1
                break
    assert frozen == expected
    assert frozen, "the course freezes something"


def test_an_operation_that_did_not_run_is_not_compared() -> None:
    made = Oles(comparisons=2)
    none, some = torch.zeros(3), torch.ones(3)
    for train, valid in ((none, some), (some, none), (some, -some)):
        assert list(made.freeze({"a": train}, {"a": valid})) == []
    assert list(made.freeze({"a": some}, {"a": -some})) == ["a"]


def test_the_gradients_it_is_shown_are_those_of_both_losses_at_one_theta() -> None:
    one = search()
    shown: list[Any] = []
    assert one.transformers is not None

    class Spy(Oles):
        def freeze(self, train: Any, valid: Any) -> list[str]:
            shown.append((train, valid))
            return []

    one.transformers.watch = OperationWatch(one.parent, [Spy()])
    batches: list[Any] = []
    original = one.learner.make_loss

    def make(batch: Any, **options: Any) -> Any:
        batches.append(batch)
        return original(batch, **options)

    one.learner.make_loss = make  # type: ignore[assignment]
    before = {name: p.detach().clone() for name, p in one.parent.named_parameters()}
    alpha = one.dist.probs.detach().clone()
    one.one_step()
    train, valid = shown[0]
    assert len(batches) == 2 and train.keys() == valid.keys() and len(train) > 0
    other = search()
    other.parent.load_state_dict(one.parent.state_dict())
    with torch.no_grad():
        for name, p in other.parent.named_parameters():
            p.copy_(before[name])
    other.parent.train()
    for (images, labels), found, z in (
        (batches[0], valid, alpha),
        (batches[1], train, one.dist.probs.detach()),
    ):
        other.parent.zero_grad()
        logits = other.parent(images, z)[0]
        torch.nn.functional.cross_entropy(logits, labels).backward()
        for name, gradient in found.items():
            own = [p.grad for n, p in other.parent.named_parameters() if n.startswith(name + ".")]
            assert own and all(g is not None for g in own)
            right = torch.cat([g.flatten() for g in own if g is not None])
            cosine = torch.nn.functional.cosine_similarity(gradient, right, dim=0)
            assert float(cosine) > 0.999, name  # clipping changes the length alone


def test_frozen_weights_stay_as_they_are_and_the_rest_moves() -> None:
    one = search("transformer.oles.comparisons=1", "transformer.oles.threshold=1.0")
    assert one.transformers is not None and one.transformers.watch is not None
    one.one_step()  # every cosine is below 1
    frozen = list(one.transformers.watch.frozen)
    assert frozen and one.transformers.values() == {"frozen_operations": float(len(frozen))}
    inside = {n for n, _ in one.parent.named_parameters() if n.startswith(tuple(frozen))}
    before = {n: p.detach().clone() for n, p in one.parent.named_parameters()}
    alpha = one.dist.alpha.detach().clone()
    one.one_step()
    for name, parameter in one.parent.named_parameters():
        assert torch.equal(before[name], parameter) == (name in inside), name
    assert not torch.equal(alpha, one.dist.alpha)


@pytest.mark.parametrize("estimator", ["snas", "rloo"])
def test_other_estimators_are_watched_too(estimator: str) -> None:
    one = search("transformer.oles.comparisons=1", estimator=estimator)
    assert one.transformers is not None and one.transformers.watch is not None
    for _ in range(3):
        one.one_step()
    assert "single operations" in one.note
    assert one.transformers.watch.frozen


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["search.level=joint"], "not defined at the level joint"),
        (["search.level=unrolled"], "not defined at the level unrolled"),
        (["transformer.oles.comparisons=0"], "at least 1"),
        (["transformer.oles.threshold=-1"], "is a cosine"),
    ],
)
def test_what_cannot_be_is_refused(more: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        search(*more)


def test_freezing_what_is_no_operation_is_an_error() -> None:
    class Wrong(Oles):
        def freeze(self, train: Any, valid: Any) -> list[str]:
            return ["the stem"]

    one = search()
    watch = OperationWatch(one.parent, [Wrong()])
    watch.after_alpha()
    with pytest.raises(PluginError, match="freezes 'the stem'"):
        watch.after_theta()
