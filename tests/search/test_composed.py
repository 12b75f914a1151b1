"""Every built-in transformer in a search: continued bit for bit, and apart from the draws."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search

TINY = ["data.dataset=fake", "data.fake.train_images=48", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=2", "child.samples=1"]
TINY += ["search.level=bilevel", "space.cells=3", "space.nodes=1"]
TINY += ['space.operations=["none", "skip_connect", "sep_conv_3x3"]']
FEWER = {"oles": ["transformer.oles.comparisons=2"]}
NAMES = [e.name for e in Registry().entries("transformer") if e.origin == "built-in"]


def search(*names: str, more: Any = (), estimator: str = "darts") -> Search:
    chosen = [f"transformers={list(names)!r}".replace("'", '"')] if names else []
    chosen += [setting for name in names for setting in FEWER.get(name, [])]
    plan = plan_run(Registry(), estimator, "darts-cnn", assignments=[*TINY, *chosen, *more])
    return Search(plan.config, Registry(), kernels="plain")


def test_all_of_them_are_here() -> None:
    expected = {"sdarts-rs", "sdarts-adv", "beta-darts", "lambda-darts", "darts-minus", "oles"}
    assert expected <= set(NAMES)


CELLS = {"lambda-darts": ["space.cells=4"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_continued_search_is_that_which_never_stopped(name: str) -> None:
    more = CELLS.get(name, ())
    straight, first, second = (search(name, more=more) for _ in range(3))
    steps = straight.steps_per_epoch // 2 + 1
    for _ in range(2 * steps - 1):
        straight.one_step()
        if straight.epoch_finished:
            straight.finish_epoch()
    for _ in range(steps):
        first.one_step()
        if first.epoch_finished:
            first.finish_epoch()
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for _ in range(steps - 1):
        second.one_step()
        if second.epoch_finished:
            second.finish_epoch()
    assert same(straight.state_dict(), second.state_dict())
    plain = search(more=more)
    for _ in range(2 * steps - 1):
        plain.one_step()
        if plain.epoch_finished:
            plain.finish_epoch()
    moved = [not torch.equal(plain.dist.alpha, straight.dist.alpha)]
    theirs = plain.parent.canonical(plain.parent.state_dict())
    ours = straight.parent.canonical(straight.parent.state_dict())
    moved += [not torch.equal(theirs[n], ours[n]) for n in theirs]
    assert any(moved), "the transformer changed nothing"


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_they_go_together() -> None:
    names = ["lambda-darts", "sdarts-rs", "beta-darts", "darts-minus", "oles"]
    one = search(*names, more=CELLS["lambda-darts"])
    for _ in range(2):
        one.one_step()
    assert "gradients of gradients" in one.note
    assert list(one.config.transformers) == names
