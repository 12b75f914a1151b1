"""Objective transformers in a search: order, levels, randomness, penalties, identity."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from nasbench_snas.api import Loss, LossStep, LossTransformer, loss_at, loss_plus
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.search.levels import _surrogate
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.ready import check_ready
from nasbench_snas.search.search import Search
from nasbench_snas.search.transform import Transformers
from nasbench_snas.seeding import stream
from nasbench_snas.settings.run import from_toml
from nasbench_snas.settings.toml import to_toml

PLUGINS = '''"""Transformers for tests."""
import torch
from nasbench_snas.api import LossTransformer, loss_at, loss_plus

class Scaled:
    def __init__(self, loss, by):
        self.loss, self.by = loss, by
    def __call__(self, z, run=None):
        return self.by * self.loss(z, run)
    def error(self, z):
        return self.loss.error(z)

class Twice(LossTransformer):
    name = "twice"
    summary = "doubles"
    def transform(self, loss, step):
        return Scaled(loss, 2.0)

class OneMore(LossTransformer):
    name = "one-more"
    summary = "adds a constant"
    def __init__(self, amount: float = 1.0, note: str | None = None):
        self.amount = amount
    def transform(self, loss, step):
        return loss_plus(loss, lambda z: torch.full(z.shape[:2], self.amount))

class Idle(LossTransformer):
    name = "idle"
    summary = "draws, and changes nothing"
    def transform(self, loss, step):
        torch.rand(3, generator=step.generator)
        return loss_at(loss, lambda z: z)

class Roles(LossTransformer):
    name = "roles"
    summary = "remembers"
    def __init__(self):
        self.roles = []
    def transform(self, loss, step):
        self.roles.append(step.role)
        return loss
    def penalty(self, dist, step):
        self.roles.append("penalty of " + step.role)

class Wrong(LossTransformer):
    name = "wrong"
    summary = "has another shape"
    def transform(self, loss, step):
        return lambda z, run=None: loss(z, run).sum()
'''
EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples/plugins/perturbed.py")
TINY = ["data.dataset=fake", "data.fake.train_images=48", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=2", "child.samples=1"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    file = tmp_path_factory.mktemp("plugins") / "changes.py"
    file.write_text(PLUGINS)
    return Registry(plugins=[str(file), EXAMPLE])


def config(registry: Registry, *names: str, estimator: str = "snas", more: Any = ()) -> Any:
    chosen = [f"transformers={list(names)!r}".replace("'", '"')] if names else []
    return plan_run(registry, estimator, "snas-unit", assignments=[*TINY, *chosen, *more]).config


def search(registry: Registry, *names: str, **options: Any) -> Search:
    return Search(config(registry, *names, **options), registry, kernels="reference")


def test_the_first_named_is_innermost(registry: Registry) -> None:
    losses = [
        float(one.sums["loss"])
        for names in ((), ("twice", "one-more"), ("one-more", "twice"))
        if (one := search(registry, *names)) and one.one_step() is None
    ]
    plain, outer_sum, outer_product = losses
    assert outer_sum == pytest.approx(2 * plain + 1, rel=1e-6)
    assert outer_product == pytest.approx(2 * (plain + 1), rel=1e-6)


@pytest.mark.parametrize("level", ["joint", "bilevel"])
def test_draws_of_estimator_and_data_are_those_of_a_search_without(
    registry: Registry, level: str
) -> None:
    pair = [search(registry, *names, more=[f"search.level={level}"]) for names in ((), ("idle",))]
    for one in pair:
        for _ in range(3):
            one.one_step()
    states = [one.state_dict() for one in pair]
    for part in ("parent", "dist", "alpha_optimizer"):
        assert torch.equal(*(flat(state[part]) for state in states)), part
    drawn = states[1]["generators"].pop("transformer idle")
    assert not torch.equal(drawn, stream(0, "transformer idle").get_state())
    for name, state in states[0]["generators"].items():
        assert torch.equal(state, states[1]["generators"][name]), name


def flat(values: Any) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.double().flatten()
    if isinstance(values, dict | list | tuple):
        items = values.values() if isinstance(values, dict) else values
        parts = [flat(item) for item in items]
        return torch.cat(parts) if parts else torch.zeros(0)
    return torch.zeros(0)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("joint", ["theta", "joint", "penalty of joint"]),
        ("bilevel", ["theta", "alpha", "penalty of alpha", "theta"]),
        ("unrolled", ["theta", "alpha", "penalty of alpha", "theta"]),
    ],
)
def test_a_level_says_what_its_loss_is_for(
    registry: Registry, level: str, expected: list[str]
) -> None:
    more = [f"search.level={level}", "search.alpha_from_epoch=1"]
    one = search(registry, "roles", estimator="darts", more=more)
    one.one_step()
    one.epoch = 1
    one.one_step()
    assert one.transformers is not None
    assert one.transformers.members[0].roles == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", ["bilevel", "unrolled"])
def test_the_gradient_of_alpha_is_that_of_the_transformed_loss(
    registry: Registry, level: str
) -> None:
    gradients = []
    for names in ((), ("twice",)):
        one = search(registry, *names, estimator="darts", more=[f"search.level={level}"])
        one.one_step()
        gradients.append(one.dist.alpha.grad.clone())
    assert torch.allclose(2 * gradients[0], gradients[1], rtol=1e-5, atol=1e-9)
    assert float(gradients[0].abs().max()) > 0


@pytest.mark.parametrize("estimator", ["snas", "rloo", "gumbel-rao"])
def test_the_gradient_of_a_penalty_is_exact_with_every_estimator(
    registry: Registry, estimator: str
) -> None:
    one = search(registry, "beta-decay", estimator=estimator)
    assert one.transformers is not None
    one.transformers.progress = 0.5
    learner = one.learner
    batch, noise = (
        one.train_stream.next_batch(),
        learner.estimator.noise(one.dist, 1, stream(3, "noise")),
    )
    found = []
    for transformers in (one.transformers, None):
        learner.transformers = transformers
        loss = learner.loss(one._make_loss(batch), "alpha")
        value, _ = _surrogate(learner, loss, noise, "alpha")
        found.append(torch.autograd.grad(value, one.dist.alpha)[0])
    right = 0.5 * 0.5 * one.dist.alpha.detach().softmax(dim=-1) / one.space.num_edges
    assert torch.allclose(found[0] - found[1], right, atol=1e-5)


def test_a_continued_search_draws_on_where_it_stopped(registry: Registry) -> None:
    straight, first = (search(registry, "perturbed") for _ in range(2))
    for _ in range(4):
        straight.one_step()
    for _ in range(2):
        first.one_step()
    second = search(registry, "perturbed")
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.one_step()
    assert torch.equal(flat(straight.state_dict()["parent"]), flat(second.state_dict()["parent"]))
    plain = search(registry)
    for _ in range(4):
        plain.one_step()
    assert not torch.equal(flat(plain.state_dict()["parent"]), flat(second.state_dict()["parent"]))


def test_transformers_their_order_settings_and_versions_are_part_of_the_identity(
    registry: Registry,
) -> None:
    more = ["transformer.one-more.amount=2.0"]
    kinds = [
        config(registry),
        config(registry, "twice"),
        config(registry, "twice", "one-more"),
        config(registry, "one-more", "twice"),
        config(registry, "one-more", "twice", more=more),
    ]
    newer = kinds[1].model_copy(update={"versions": {"transformer twice": 2}})
    assert len({one.digest(1) for one in [*kinds, newer]}) == 6
    assert "transformers" not in kinds[0].identity(1) and kinds[0].versions == {}
    for one in kinds:
        assert from_toml(to_toml(one, {})).digest(1) == one.digest(1)
    assert kinds[4].transformer == {"one-more": {"amount": 2.0}}


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (("twise",), [], "unknown transformer 'twise'"),
        (("twice", "twice"), [], "named twice"),
        (("twice",), ["transformer.one-more.amount=2.0"], "--transform one-more"),
        (("one-more",), ["transformer.one-more.amuont=2.0"], "amount"),
    ],
)
def test_what_cannot_be_applied_is_refused(
    registry: Registry, names: tuple[str, ...], more: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        config(registry, *names, more=more)


def test_a_broken_transformer_is_refused_before_the_run(registry: Registry) -> None:
    with pytest.raises(PluginError, match="'wrong': transform.. returned function"):
        check_ready(config(registry, "wrong"), registry, kernels="reference")


def test_a_changed_loss_knows_its_error_without_another_evaluation() -> None:
    class Counted:
        asked = 0

        def __call__(self, z: torch.Tensor, run: Any = None) -> torch.Tensor:
            self.asked += 1
            self.last = z
            return z.sum(dim=(-1, -2))

        def error(self, z: torch.Tensor) -> torch.Tensor:
            if z is not self.last:
                self(z)
            return torch.zeros(z.shape[:2])

    inner, z = Counted(), torch.ones(1, 2, 3, 4)
    loss = loss_plus(loss_at(inner, lambda w: w + 1), lambda w: w.mean(dim=(-1, -2)))
    assert loss(z).tolist() == [[25.0, 25.0]]
    loss.error(z)
    assert inner.asked == 1


def test_penalties_are_added_and_weights_of_auxiliary_skips_multiplied() -> None:
    class Has(LossTransformer):
        auxiliary_skip = True

        def __init__(self, value: float) -> None:
            self.name, self.value = f"has-{value}", value  # type: ignore[misc]

        def penalty(self, dist: Any, step: Any) -> torch.Tensor:
            return torch.tensor(self.value)

        def auxiliary_weight(self, progress: float) -> float:
            return self.value

    members = [Has(0.5), Has(0.25), Has(2.0)]
    own = {member.name: stream(0, "x") for member in members}
    both = Transformers(members, own, cast(Any, None))
    assert both.penalty(cast(Any, None), "alpha") == torch.tensor(2.75)
    assert both.auxiliary_weight == 0.25


def test_a_penalty_must_be_a_scalar() -> None:
    class Vector(LossTransformer):
        name = "vector"

        def penalty(self, dist: Any, step: Any) -> torch.Tensor:
            return torch.ones(2)

    both = Transformers([Vector()], {"vector": stream(0, "x")}, None)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="scalar"):
        both.penalty(None, "alpha")  # type: ignore[arg-type]


def test_a_loss_that_mixes_architectures_is_refused() -> None:
    def loss(z: torch.Tensor, run: Any = None) -> torch.Tensor:
        return z.sum(dim=(-1, -2))

    z = torch.rand(2, 3, 4, 5)
    for made in (
        loss_plus(cast(Loss, loss), lambda z: z.mean()),  # would give each one the mean of all
        loss_plus(cast(Loss, loss), lambda z: z.sum(dim=(-1, -2)).mean(dim=1, keepdim=True)),
        loss_at(cast(Loss, loss), lambda z: z.mean(dim=1, keepdim=True)),
    ):
        with pytest.raises(PluginError, match="shape"):
            made(z)


@pytest.mark.parametrize(
    "returned",
    [None, 1.0, lambda z, run=None: z.mean(), lambda z, run=None: z],
    ids=["None", "a number", "a scalar", "the weights"],
)
def test_a_transformer_that_returns_no_loss_is_named(returned: Any) -> None:
    class Evaluated(SimpleNamespace):
        def __call__(self, z: torch.Tensor, run: Any = None) -> Any:
            return returned(z, run)

    made = Evaluated(error=returned) if callable(returned) else returned

    class Odd(LossTransformer):
        name = "odd"
        summary = "another thing"

        def transform(self, loss: Loss, step: LossStep) -> Loss:
            return cast(Loss, made)

    space = Registry().space("snas-unit")().build(1, 10, 8)
    applied = Transformers([Odd()], {"odd": torch.Generator()}, space)
    with pytest.raises(PluginError, match="odd"):
        applied.loss(cast(Loss, lambda z, run=None: z.sum(dim=(-1, -2))), "joint")(
            torch.rand(2, 3, 6, 3)
        )
