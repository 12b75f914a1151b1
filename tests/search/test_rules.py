"""Derivation rules: the suite's own and plug-ins, through one interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nasbench_snas.api import RULES, Categorical, DerivationRule, SearchState
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.search.child import accuracy
from nasbench_snas.search.load import load_search
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.ready import check_ready
from nasbench_snas.search.rules import derive_by, make_rule
from nasbench_snas.search.runner import RunOptions, run_search
from nasbench_snas.settings.run import from_toml
from nasbench_snas.settings.toml import to_toml
from nasbench_snas.testing.toy import toy_space

EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples/plugins/hill_climb.py")
TINY = ["data.dataset=fake", "data.fake.train_images=60", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=16", "search.epochs=1", "child.samples=1"]
TINY += ["child.recalibration_images=16"]
BROKEN = '''"""Rules that cannot be used."""
import torch
from nasbench_snas.api import DerivationRule

class Long(DerivationRule):
    name = "long"
    summary = "one edge too many"
    def derive(self, state):
        return torch.zeros(state.space.num_edges + 1, state.space.num_operations)

class Half(DerivationRule):
    name = "half"
    summary = "soft"
    def derive(self, state):
        return state.probs

class Void(DerivationRule):
    name = "void"
    summary = "none, against its word"
    keeps_none = False
    def derive(self, state):
        z = torch.zeros_like(state.probs)
        z[:, state.space.operations.index("none")] = 1
        return z

class Peeping(DerivationRule):
    name = "peeping"
    summary = "looks without saying so"
    def derive(self, state):
        return state.sample(1)[int(state.accuracy(state.sample(2)).argmax())]

class Crash(DerivationRule):
    name = "crash"
    summary = "fails"
    def derive(self, state):
        return state.nothing

class Restless(DerivationRule):
    name = "restless"
    summary = "trains without saying so"
    uses_images = True
    def derive(self, state):
        state.tune(state.probs, 3)
        return state.sample(1)[0]

class Odd(DerivationRule):
    name = "odd"
    summary = "asserts what does not hold"
    def derive(self, state):
        assert not state.space.operations

class Mean(DerivationRule):
    name = "mean"
    summary = "has the name of a view"
    def derive(self, state):
        return state.dist.mode()[0]
'''


def state(logits: torch.Tensor, seed: int = 0) -> SearchState:
    value = torch.arange(4.0)
    measure = lambda z: (z @ value).sum(dim=-1).double()  # noqa: E731
    generator = torch.Generator().manual_seed(seed)
    return SearchState(toy_space(), Categorical(logits), generator, candidates=8, measure=measure)


def test_the_rules_of_the_suite_come_through_the_same_interface() -> None:
    space, registry = toy_space(), Registry()
    logits = torch.randn(space.num_edges, 4, generator=torch.Generator().manual_seed(1))
    found = {name: derive_by(make_rule(registry, name), state(logits)) for name in RULES}
    assert torch.equal(found["argmax"].argmax(dim=-1), logits.argmax(dim=-1))
    drawn = state(logits).sample(1)[0]
    assert torch.equal(found["sample"], drawn)
    candidates = state(logits).sample(8)
    best = (candidates @ torch.arange(4.0)).sum(dim=-1).argmax()
    assert torch.equal(found["best-of-N"], candidates[int(best)])
    kept = logits.softmax(dim=-1)[:, 1:].max(dim=-1).values  # edges (0,2) (1,2) (0,3) (1,3) (2,3)
    second = sorted((2, 3, 4), key=lambda e: -float(kept[e]))[:2]
    rows = [e for e in range(5) if bool(found["top2"][e].any())]
    assert rows == sorted([0, 1, *second])


def test_one_architecture_is_measured_once() -> None:
    asked: list[int] = []
    one = state(torch.zeros(5, 4))
    one._measure = lambda z: (asked.append(len(z)), torch.ones(len(z)))[1]  # type: ignore[func-returns-value]
    z = one.sample(3)
    assert one.accuracy(torch.cat([z, z])).shape == (6,)
    one.accuracy(z[:2])
    assert (asked, one.asked, one.distinct) == ([3], 8, 3)
    assert one.known(z[1]) == 1.0 and one.known(1 - z[1]) is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, RunFolder, dict]:
    registry = Registry(plugins=[EXAMPLE])
    more = ["child.rule=hill-climb", "child.parameters.edges=2"]
    plan = plan_run(registry, "snas", "snas-unit", assignments=[*TINY, *more])
    folder = RunFolder(tmp_path_factory.mktemp("runs") / plan.run_id)
    return registry, folder, run_search(plan.config, registry, folder, RunOptions())


def test_a_child_of_ones_own_rule_is_reported_on_other_images(
    finished: tuple[Registry, RunFolder, dict],
) -> None:
    registry, folder, result = finished
    search = load_search(folder, registry)
    chosen, part = search.selected(), search.images.selection
    operations = search.space.num_operations
    assert result["derive_rule"] == "hill-climb"
    assert result["n_candidates"] == 2 * (operations + 1)
    assert result["n_distinct_candidates"] <= 1 + 2 * (operations - 1)
    assert result["selection_acc"] == pytest.approx(chosen.accuracy)
    assert part is not None and result["selection_images"] == len(part)
    mode = accuracy(search.parent, search.dist.mode()[0][None], search.images.batches(part))
    assert chosen.accuracy >= float(mode[0]) - 1e-9
    reported = accuracy(search.parent, chosen.z[None], search.images.reported())
    assert result["child_valid_acc"] == pytest.approx(float(reported[0]))
    used = {plugin["kind"]: plugin for plugin in folder.starts()[-1]["plugins"]}
    assert used["rule"]["name"] == "hill-climb" and used["rule"]["digest"]


def test_rule_settings_and_version_are_part_of_the_identity() -> None:
    registry = Registry(plugins=[EXAMPLE])

    def planned(*more: str) -> Any:
        return plan_run(registry, "snas", "snas-unit", assignments=[*TINY, *more]).config

    kinds = [planned(), planned("child.rule=argmax"), planned("child.rule=hill-climb")]
    kinds += [planned("child.rule=hill-climb", "child.parameters.edges=3")]
    kinds += [kinds[2].model_copy(update={"versions": {"rule hill-climb": 2}})]
    assert len({one.digest(1) for one in kinds}) == 5
    assert kinds[1].versions == {} and kinds[2].versions == {"rule hill-climb": 1}
    assert kinds[2].child.parameters == {"edges": 0}
    for one in kinds:
        assert from_toml(to_toml(one, {})).digest(1) == one.digest(1)
    with pytest.raises(ConfigError, match="unknown rule 'hill-clim'"):
        planned("child.rule=hill-clim")
    with pytest.raises(ConfigError, match="none was chosen"):
        planned("child.parameters.edges=3")
    with pytest.raises(ConfigError, match="edges"):
        planned("child.rule=hill-climb", "child.parameters.edge=3")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("long", "shape"),
        ("half", "no single operation"),
        ("void", "keeps_none"),
        ("peeping", "uses_images = True"),
        ("crash", "'crash' failed when it was tried: AttributeError"),
        ("restless", "trains the parent for 3 steps"),
        ("odd", "'odd' failed when it was tried: AssertionError"),
    ],
)
def test_a_broken_rule_is_refused_before_the_training(name: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    registry = Registry(plugins=[str(file)])
    plan = plan_run(registry, "snas", "snas-unit", assignments=[*TINY, f"child.rule={name}"])
    with pytest.raises(PluginError, match=said):
        check_ready(plan.config, registry, kernels="reference")


def test_a_rule_with_the_name_of_a_view_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    with pytest.raises(PluginError, match="'mean' has the name of a view"):
        plan_run(
            Registry(plugins=[str(file)]), "snas", "snas-unit", assignments=["child.rule=mean"]
        )


def test_a_rule_that_compares_needs_images_set_apart() -> None:
    registry = Registry(plugins=[EXAMPLE])
    more = ["child.rule=hill-climb", "child.selection_fraction=0"]
    plan = plan_run(registry, "snas", "snas-unit", assignments=[*TINY, *more])
    with pytest.raises(ConfigError, match="hill-climb has no images to select by"):
        check_ready(plan.config, registry, kernels="reference")


def test_rules_are_a_kind_of_their_own() -> None:
    assert issubclass(type(make_rule(Registry(), "top2")), DerivationRule)
    assert set(RULES) >= {"argmax", "top2", "sample", "best-of-N"}
