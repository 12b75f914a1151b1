"""The derive rule perturbation: against a direct calculation; training, time, refusals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from nasbench_snas.api import Categorical, RuleWork, SearchState
from nasbench_snas.compute.deadline import Deadline
from nasbench_snas.compute.distributed import World
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.schema import rule_in_words
from nasbench_snas.search.child import accuracy
from nasbench_snas.search.load import load_search
from nasbench_snas.search.perturbation import Perturbation
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.ready import check_ready
from nasbench_snas.search.rules import derive_by
from nasbench_snas.search.runner import RunOptions, run_search
from nasbench_snas.search.search import Search
from nasbench_snas.testing.toy import toy_space

SPACE = toy_space()
EDGES, OPERATIONS = SPACE.num_edges, SPACE.num_operations
NONE = SPACE.operations.index("none")
TINY = ["data.dataset=fake", "data.fake.train_images=96", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=16", "search.epochs=1", "child.samples=1"]
TINY += ["child.recalibration_images=16", "child.rule=perturbation"]


def logits(seed: int) -> Tensor:
    return torch.randn(EDGES, OPERATIONS, generator=torch.Generator().manual_seed(seed))


def landscape(seed: int) -> Any:
    """An accuracy with interactions between all entries: a random quadratic of the weights."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(EDGES * OPERATIONS, EDGES * OPERATIONS, generator=generator).double()

    def measure(z: Tensor) -> Tensor:
        flat = z.flatten(1).double()
        return torch.einsum("si,ij,sj->s", flat, matrix, flat)

    return measure


def state(measure: Any, start: Tensor, seed: int = 0, **more: Any) -> SearchState:
    generator = torch.Generator().manual_seed(seed)
    return SearchState(SPACE, Categorical(start), generator, measure=measure, **more)


def directly(measure: Any, start: Tensor, order: list[int], nodes: list[int]) -> Tensor:
    """The algorithm of the paper, entry by entry, for an order of edges and of the nodes 2 and 3.

    The toy space has the edges (0,2) (1,2) (0,3) (1,3) (2,3): node 3 alone has three inputs.
    """
    w = start.softmax(dim=-1).clone()
    for edge in order:
        worst, kept = float("inf"), -1
        for k in range(OPERATIONS):
            if k == NONE:
                continue
            one = w.clone()
            one[edge, k] = 0
            value = float(measure(one[None])[0])
            if value < worst:
                worst, kept = value, k
        w[edge] = torch.eye(OPERATIONS)[kept]
    for node in nodes:
        into = {2: [0, 1], 3: [2, 3, 4]}[node]
        without = []
        for edge in into:
            one = w.clone()
            one[edge] = 0
            without.append((float(measure(one[None])[0]), edge))
        for _, edge in sorted(without)[2:]:
            w[edge] = 0
    return w


def test_every_decision_is_the_one_of_a_direct_calculation() -> None:
    unlikely = 0
    for seed in range(8):
        measure, start = landscape(seed), logits(seed + 100)
        one = state(measure, start, seed)
        z = derive_by(Perturbation(tune_steps=0), one)
        order = torch.randperm(EDGES, generator=torch.Generator().manual_seed(seed)).tolist()
        assert torch.equal(z, directly(measure, start, order, [3]))
        work = Perturbation(tune_steps=0).work(SPACE, 100)
        assert one.asked == work.measured == EDGES * (OPERATIONS - 1) + 3 and work.steps == 0
        assert int(z.sum()) == 4 and not z[:, NONE].any()
        by_probability = start[:, 1:].argmax(dim=-1) + 1
        unlikely += int((z.argmax(dim=-1) != by_probability)[z.any(dim=-1)].sum())
    assert unlikely > 8  # of 32 operations: it follows the accuracies


def test_the_order_of_edges_is_random_and_matters() -> None:
    measure, start = landscape(3), logits(103)
    direct = {
        tuple(directly(measure, start, list(order), [3]).flatten().tolist())
        for order in itertools.permutations(range(EDGES))
    }
    drawn = {
        tuple(derive_by(Perturbation(tune_steps=0), state(measure, start, s)).flatten().tolist())
        for s in range(20)
    }
    assert len(drawn) > 1 and drawn <= direct


def test_without_topology_every_edge_stays_and_none_may_be_chosen() -> None:
    none_is_all = lambda z: z[..., NONE].sum(dim=-1).double()  # noqa: E731
    z = derive_by(Perturbation(edges_per_node=0, tune_steps=0), state(none_is_all, logits(0)))
    assert z[:, NONE].all() and int(z.sum()) == EDGES
    assert Perturbation(0, 2).work(SPACE, 1) == RuleWork(EDGES * OPERATIONS, 2 * (EDGES - 1))


def test_equal_accuracies_are_decided_by_the_probabilities() -> None:
    start = logits(5)
    z = derive_by(Perturbation(tune_steps=0), state(lambda z: torch.ones(len(z)), start))
    allowed = start.softmax(dim=-1)
    allowed[:, NONE] = -1
    strength, choice = allowed.max(dim=-1)
    kept = [0, 1, *sorted([2, 3, 4], key=lambda e: -float(strength[e]))[:2]]
    assert [e for e in range(EDGES) if z[e].any()] == sorted(kept)
    assert all(int(z[e].argmax()) == int(choice[e]) for e in kept)


def test_the_parent_is_trained_between_decisions_at_the_weights_that_are_decided() -> None:
    seen: list[tuple[Tensor, int]] = []
    one = state(landscape(0), logits(0), train=lambda z, steps: seen.append((z.clone(), steps)))
    z = derive_by(Perturbation(tune_steps=7), one)
    work = Perturbation(tune_steps=7).work(SPACE, 100)
    assert [steps for _, steps in seen] == [7] * EDGES  # five edges and one node, not after it
    assert one.tuned == work.steps == 7 * EDGES
    decided = [sum(int(row.max()) == 1 for row in weights) for weights, _ in seen]
    assert decided == [1, 2, 3, 4, 5]
    assert torch.equal(seen[-1][0] * z, z) and int(seen[-1][0].sum()) == EDGES


def test_where_the_time_is_up_the_probabilities_decide() -> None:
    measured: list[int] = []
    measure = lambda z: (measured.append(len(z)), torch.rand(len(z)))[1]  # noqa: E731
    start, over = logits(2), Deadline(0.0)
    one = state(measure, start, expired=over.leaves_out)
    z = derive_by(Perturbation(), one)
    equal = state(lambda z: torch.ones(len(z)), start)
    assert torch.equal(z, derive_by(Perturbation(tune_steps=0), equal))
    assert not measured and one.tuned == 0 and over.cut
    lost = state(lambda z: torch.full((len(z),), -torch.inf), start)  # cut within a call
    assert torch.equal(derive_by(Perturbation(tune_steps=0), lost), z)


def test_settings_that_are_impossible_are_refused() -> None:
    plan = lambda *more: plan_run(Registry(), "snas", "snas-unit", assignments=[*TINY, *more])  # noqa: E731
    with pytest.raises(ConfigError, match="no images to select by"):
        check_ready(plan("child.selection_fraction=0").config, Registry(), kernels="reference")
    with pytest.raises(ConfigError, match=r"tune_steps = -1: at least 0"):
        Perturbation(tune_steps=-1)
    with pytest.raises(ConfigError, match=r"edges_per_node = -2"):
        Perturbation(edges_per_node=-2)
    with pytest.raises(ConfigError, match="tune_step"):
        plan("child.parameters.tune_step=3")


def test_training_in_several_processes_is_refused() -> None:
    one = Search(config("child.parameters.tune_steps=1"), Registry(), kernels="reference")
    one.world = World(rank=0, size=2)
    with pytest.raises(ConfigError, match="trains the parent, which it does in one process only"):
        one.check_rule()
    one.rule = Perturbation(tune_steps=0)
    one.check_rule()


def config(*more: str) -> Any:
    return plan_run(Registry(), "darts", "snas-unit", assignments=[*TINY, *more]).config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict]:
    plan = plan_run(
        Registry(), "darts", "snas-unit", assignments=[*TINY, "child.parameters.tune_steps=2"]
    )
    folder = RunFolder(tmp_path_factory.mktemp("runs") / plan.run_id)
    return folder, run_search(plan.config, Registry(), folder, RunOptions(kernels="reference"))


def test_a_search_ends_with_it_and_its_weights_are_those_of_the_search(
    finished: tuple[RunFolder, dict],
) -> None:
    folder, result = finished
    search = load_search(folder, Registry())
    before = {name: tensor.clone() for name, tensor in search.parent.state_dict().items()}
    chosen = search.selected()
    for name, tensor in search.parent.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert result["derive_rule"] == "perturbation"
    assert result["n_candidates"] == chosen.candidates == search.rule_work.measured
    assert result["selection_steps"] == chosen.steps == search.rule_work.steps > 0
    assert result["selection_images"] == len(search.selection_part())
    assert result["wall_s"] >= result["selection_s"] > 0
    reported = accuracy(search.parent, chosen.z[None], search.images.reported())
    assert result["child_valid_acc"] == pytest.approx(float(reported[0]))
    words = rule_in_words(result)
    assert words.startswith(f"perturbation, {chosen.candidates} measured on ")
    assert f"{chosen.steps} steps of training" in words


def test_its_training_is_that_of_the_images_and_rate_that_it_says(
    finished: tuple[RunFolder, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = load_search(finished[0], Registry())
    seen: list[tuple[list[float], float]] = []
    inner = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *args: Any, **options: Any) -> Any:
        gradient = torch.cat([p.grad.flatten() for p in self.param_groups[0]["params"]])
        seen.append(([group["lr"] for group in self.param_groups], float(gradient.norm())))
        return inner(self, *args, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    search.selected()
    rates = [rate for (rate,), _ in seen]
    assert len(rates) == search.rule_work.steps
    first, phases = 0.1 * search.settings.theta.lr, torch.arange(len(rates)) / len(rates)
    cosine = first * (1 + torch.cos(torch.pi * phases)) / 2
    assert rates == pytest.approx(cosine.tolist(), rel=1e-4)
    assert all(norm > 0 for _, norm in seen)
    again = load_search(finished[0], Registry())
    assert torch.equal(again.selected().z, search.selected().z)


def test_images_that_report_decide_nothing(finished: tuple[RunFolder, dict]) -> None:
    search = load_search(finished[0], Registry())
    before, part = search.selected().z, search.images.reporting
    part.labels[part.indices] = (part.labels[part.indices] + 1) % 3  # all of them are wrong now
    search.forget_selection()
    assert torch.equal(search.selected().z, before)
    part = search.selection_part()
    measure = search._measure_on(part)
    right = measure(before[None])
    part.labels[part.indices] = (part.labels[part.indices] + 1) % 3
    assert measure(before[None]) != right


def test_more_steps_than_announced_are_refused(finished: tuple[RunFolder, dict]) -> None:
    search = load_search(finished[0], Registry())

    class Greedy(Perturbation):
        def work(self, space: Any, candidates: int) -> RuleWork:
            return RuleWork(10, 3)

    search.rule = Greedy(tune_steps=2)
    with pytest.raises(PluginError, match="more than 3 steps"):
        search.selected()
    before = load_search(finished[0], Registry()).parent.state_dict()
    for name, tensor in search.parent.state_dict().items():
        assert torch.equal(tensor, before[name]), name  # put back nevertheless


def test_a_rule_that_declares_no_images_cannot_train() -> None:
    with pytest.raises(PluginError, match="trained the parent, which it has not declared"):
        state(None, logits(0)).tune(torch.zeros(EDGES, OPERATIONS), 1)
