"""The study: numbers by independent enumeration, resumption, costs, references, tables."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasbench_snas.architecture.distributions import Categorical, one_hot
from nasbench_snas.errors import CheckpointError, ConfigError
from nasbench_snas.oracle.draws import alpha_draws, measure_cost, theta_draws, warm_up
from nasbench_snas.oracle.exact import architectures
from nasbench_snas.registry import Registry
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.stats.gradient_summary import summarise_gradient
from nasbench_snas.stats.moments import GradientMoments
from nasbench_snas.study.cells import Cell
from nasbench_snas.study.points import distribution_at, load_batches, study_points
from nasbench_snas.study.results import at_budget
from nasbench_snas.study.settings import Recipe, StudySettings, fraction_of
from nasbench_snas.study.site import Site
from nasbench_snas.study.study import run_study, study_folder
from nasbench_snas.study.variants import variants

UNIT = {"name": "snas-unit", "nodes": 2, "channels": 2}


def tiny(**changes: Any) -> StudySettings:
    values: dict[str, Any] = {
        "space": UNIT,
        "batch_size": 6,
        "points": ("init", "late"),
        "estimators": ("darts", "snas", "reinforce"),
        "temperatures": (0.5,),
        "samples": 128,
        "theta_samples": 20,
        "recipe": {"steps": 4, "batch_size": 8, "alpha_lr": 0.3},
    }
    return StudySettings.model_validate(values | changes)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    settings = tiny()
    batches = load_batches(settings)
    *_, point = study_points(settings, Registry(), batches, Path("."))
    return Site(settings, point, batches, tmp_path_factory.mktemp("site") / "late.npz")


def estimator(name: str, **settings: Any) -> Any:
    return Registry().estimator(name)(**settings).double()


def test_study_agrees_with_independent_enumeration(tmp_path: Path) -> None:
    settings = tiny(points=("late",))
    result = run_study(settings, Registry(), tmp_path)
    batches = load_batches(settings)
    (point,) = study_points(settings, Registry(), batches, tmp_path)
    where = Site(settings, point, batches, tmp_path / "again.npz")
    loss = SupernetLoss(point.parent, where.images, where.labels)
    p = point.probs
    value, exact = 0.0, torch.zeros(3, 3, dtype=torch.float64)
    theta = [torch.zeros_like(w) for w in point.parent.parameters()]
    for row in architectures(3, 3):
        z = one_hot(row, 3, torch.float64)
        one = loss(z[None, None])[0, 0]
        weight = float((p * z).sum(-1).prod())
        grads = torch.autograd.grad(one, list(point.parent.parameters()), allow_unused=True)
        for total, g in zip(theta, grads, strict=True):
            total += 0 if g is None else weight * g
        value += weight * float(one.detach())
        exact += weight * float(one.detach()) * (z - p)
    soft = p.clone().requires_grad_()
    (h,) = torch.autograd.grad(loss(soft[None, None]).sum(), soft)
    darts = p * (h - (p * h).sum(-1, keepdim=True))
    expected = float((darts - exact).square().sum() / exact.square().sum())
    row = next(c for c in result["cells"] if c["label"] == "darts")
    assert row["alpha"]["all"]["relative_bias_sq"]["estimate"] == pytest.approx(expected, rel=1e-8)
    edge = float((darts[1] - exact[1]).square().sum() / exact[1].square().sum())
    assert row["alpha"]["edge 1"]["relative_bias_sq"]["estimate"] == pytest.approx(edge, rel=1e-8)
    facts = result["points"][0]
    assert facts["expected_loss"] == pytest.approx(value, rel=1e-10)
    assert facts["gradient_norm"] == pytest.approx(float(exact.norm()), rel=1e-8)
    flat = torch.cat([t.flatten() for t in theta])
    reference = where.theta_reference(where.dist).value
    np.testing.assert_allclose(reference, flat.numpy(), rtol=1e-8, atol=1e-12)
    json.dumps(result, allow_nan=False)


def test_draws_from_the_table_equal_draws_from_the_network(site: Site) -> None:
    for name in ("reinforce", "rloo", "dsnas", "straight-through", "st-gumbel", "gdas", "snas"):
        one = estimator(name)
        rows = []
        for loss in (
            site.fast_loss(one.needs_all_operations),
            site.loss(one.needs_all_operations),
        ):
            generator = torch.Generator().manual_seed(3)
            rows.append(alpha_draws(one, loss, site.dist, 5, generator))
        torch.testing.assert_close(rows[0], rows[1], rtol=1e-9, atol=1e-12)
        assert float(rows[0].abs().sum()) > 0


def test_replicates_of_a_pass_are_the_draws_made_one_at_a_time(site: Site) -> None:
    snas = estimator("snas")
    together = alpha_draws(snas, site.loss(False), site.dist, 4, torch.Generator().manual_seed(1))
    noise = site.dist.noise(4, 1, torch.Generator().manual_seed(1))
    for index in range(4):
        dist = Categorical(site.dist.alpha.detach())
        value = snas.surrogate(site.loss(False), dist, noise[index : index + 1]).sum()
        (one,) = torch.autograd.grad(value, dist.alpha)
        torch.testing.assert_close(together[index], one.flatten(), rtol=1e-10, atol=1e-13)


def test_theta_draws_of_single_paths_average_to_the_exact_theta_gradient(site: Site) -> None:
    loss = site.loss(False)
    generator = torch.Generator().manual_seed(0)
    rows = theta_draws(estimator("reinforce"), loss, site.dist, 200, generator)
    exact = torch.from_numpy(site.theta_reference(site.dist).value)
    difference = rows.mean(0) - exact
    error = float(rows.var(0).sum()) / len(rows)
    assert float(difference.square().sum()) < 2.5 * error
    assert float(difference.square().sum()) < 0.2 * float(exact.square().sum())


@pytest.mark.parametrize(
    ("name", "settings", "cost"),
    [
        ("reinforce", {}, (1, 0, 1)),
        ("rloo", {"n": 4}, (4, 0, 4)),
        ("snas", {}, (3, 3, 3)),
        ("dsnas", {}, (1, 1, 1)),
        ("st-gumbel", {}, (3, 3, 3)),
        ("darts", {}, (3, 3, 3)),
    ],
)
def test_cost_counts_executed_passes(
    site: Site, name: str, settings: dict[str, Any], cost: tuple[float, ...]
) -> None:
    one = estimator(name, **settings)
    warm_up(one, site.fast_loss(False), site.dist, 2, torch.Generator().manual_seed(0))
    loss = site.loss(one.needs_all_operations)
    found = measure_cost(one, loss, site.dist, torch.Generator().manual_seed(0), replicates=2)
    assert (found.forward, found.backward, found.joint_backward) == cost
    assert found.equivalents == cost[0] + 2 * cost[1]
    assert found.seconds > 0 and found.bytes > 0


def comparable(result: dict[str, Any]) -> list[dict[str, Any]]:
    cells = copy.deepcopy(result["cells"])
    for cell in cells:
        cell.pop("cost")
    return cells


def test_a_stopped_study_continues_to_the_same_numbers(tmp_path: Path) -> None:
    settings = tiny(points=("init",), estimators=("snas", "reinforce"), samples=256)
    whole = run_study(settings, Registry(), tmp_path / "a")

    def stop(event: dict[str, Any]) -> None:
        if event.get("draws") == 256:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(settings, Registry(), tmp_path / "b", stop)
    folder = study_folder(settings, tmp_path / "b")
    assert folder.status()["status"] == "interrupted"
    assert folder.result() is None
    again = run_study(settings, Registry(), tmp_path / "b")
    assert comparable(again) == comparable(whole)
    assert folder.status()["status"] == "done"
    fewer = run_study(settings.model_copy(update={"samples": 128}), Registry(), tmp_path / "c")
    assert comparable(fewer) != comparable(whole)
    more = run_study(settings, Registry(), tmp_path / "c")
    assert comparable(more) == comparable(whole)


def test_a_damaged_cell_is_refused_with_a_way_out(site: Site, tmp_path: Path) -> None:
    variant = variants(tiny(), Registry())[0][0]
    file = tmp_path / "cell.npz"
    file.write_bytes(b"PK\x03\x04 torn")
    reference = site.reference(site.dist)
    with pytest.raises(CheckpointError, match="Delete"):
        Cell(variant, estimator("darts"), site.dist, reference, {}, file, 0, "init")


def test_estimators_stop_at_the_wanted_standard_error_and_time(tmp_path: Path) -> None:
    settings = tiny(points=("init",), estimators=("snas", "reinforce"), until_se=0.5)
    result = run_study(settings.model_copy(update={"samples": 4096}), Registry(), tmp_path / "a")
    for cell in result["cells"]:
        a = cell["alpha"]["all"]
        assert a["bias_se"] / a["reference_norm"] <= 0.5 or cell["n"] >= 4096
    counts = {cell["label"]: cell["n"] for cell in result["cells"]}
    assert counts["snas λ=0.5"] < 4096
    late = tiny(samples=10**6, max_time=1e-6)
    assert run_study(late, Registry(), tmp_path / "b")["truncated"]


def test_sampled_reference_agrees_with_the_exact_one_and_carries_its_error(site: Site) -> None:
    settings = site.settings.model_copy(update={"reference": "mc:400"})
    sampled = Site(settings, site.point, site.batches, Path("unused"))
    exact, found = site.reference(site.dist), sampled.reference(site.dist)
    assert found.moments is not None
    summary = summarise_gradient(found.moments, exact)
    assert abs(summary.bias_sq.estimate) < 4 * summary.bias_sq.standard_error
    assert summary.relative_bias_sq.estimate < 0.1
    moments = GradientMoments(9)
    rows = alpha_draws(
        estimator("rloo"), site.fast_loss(False), site.dist, 400, torch.Generator().manual_seed(0)
    )
    moments.update(rows.numpy())
    with_error = summarise_gradient(moments, found)
    without = summarise_gradient(moments, exact)
    assert with_error.bias_se > without.bias_se


def test_budget_formulas_are_those_of_a_mean_of_draws() -> None:
    generator = np.random.default_rng(0)
    g = np.array([1.0, 0.5, -0.3])
    draws = 0.8 * g + generator.normal(size=(4000, 3))
    moments = GradientMoments(3, direction=g)
    moments.update(draws)
    from nasbench_snas.stats.gradient_summary import Reference

    found = at_budget(summarise_gradient(moments, Reference.exact(g)), 2.0, 100.0)
    means = draws.reshape(-1, 50, 3).mean(axis=1)
    mse = np.square(means - g).sum(axis=1).mean() / np.square(g).sum()
    root = np.sqrt(np.square(means).sum(axis=1).mean())
    assert found["relative_mse"] == pytest.approx(mse, rel=0.15)
    assert found["cosine"] == pytest.approx(means.mean(0) @ g / np.linalg.norm(g) / root, rel=0.05)


def test_controllers_are_fitted_to_the_law_of_the_point(site: Site) -> None:
    probs = torch.tensor([[0.8, 0.1, 0.1]] * 3, dtype=torch.float64)
    space = site.point.parent.space
    generator = torch.Generator().manual_seed(0)
    for name in ("drnas", "enas"):
        settings = {"hidden": 8, "tanh_constant": 5.0} if name == "enas" else {}
        dist = distribution_at(estimator(name, **settings), space, probs, generator)
        marginals = dist.marginals(torch.Generator().manual_seed(1))[0]
        assert float((marginals - probs).abs().max()) < 0.12, name


def test_specifications_expand_to_rows_and_reasons() -> None:
    rows, skipped = variants(
        tiny(
            estimators=("all", "rloo:n=8"),
            temperatures=(1.0, 0.1),
            sweep=("snas",),
            sweep_temperatures=(0.03,),
        ),
        Registry(),
    )
    labels = [row.label for row in rows]
    assert {"snas λ=1", "snas λ=0.1", "snas λ=0.03", "gdas λ=0.1", "rloo (n=8)"} <= set(labels)
    assert "gdas λ=0.03" not in labels and len(labels) == len(set(labels))
    assert {"exact", "random"} <= set(skipped)
    with pytest.raises(ConfigError):
        variants(tiny(estimators=("snas:tau",)), Registry())


def test_settings_name_the_study_and_reject_nonsense() -> None:
    assert tiny(samples=999).digest() == tiny().digest()
    assert tiny(seed=1).digest() != tiny().digest()
    assert tiny(recipe=Recipe(steps=5)).digest() != tiny().digest()
    assert (fraction_of("mid"), fraction_of("0.5"), fraction_of("a-run")) == (1 / 3, 0.5, None)
    with pytest.raises(ConfigError):
        fraction_of("1.5")
    with pytest.raises(ConfigError):
        _ = tiny(reference="mc:3").reference_draws


def test_training_lowers_the_loss_on_both_trajectories(tmp_path: Path) -> None:
    settings = tiny(
        points=("init", "late"),
        trajectories=("snas", "uniform"),
        recipe=Recipe(steps=40, batch_size=32, theta_lr=0.02, alpha_lr=0.05),
    )
    batches = load_batches(settings)
    found = {p.name: p for p in study_points(settings, Registry(), batches, tmp_path)}
    assert set(found) == {"init", "snas/late", "uniform/late"}
    losses = {}
    for name, point in found.items():
        site = Site(settings, point, batches, tmp_path / f"{name.replace('/', '-')}.npz")
        losses[name] = float(functional.cross_entropy(*_scores(site)))
    assert losses["snas/late"] < losses["init"] - 0.2
    assert losses["uniform/late"] < losses["init"] - 0.1


def _scores(site: Site) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        logits = site.network.logits(site.batches.images[:300], site.point.probs[None])
    return logits[0], site.batches.labels[:300]


def test_penalties_are_measured_apart_from_gradients() -> None:
    settings = StudySettings(estimators=("fair-darts", "hard-concrete", "fair-darts:zero_one=3.0"))
    rows, _ = variants(settings, Registry())
    found = {row.label: row.parameters for row in rows}
    assert found["fair-darts"] == {"zero_one": 0.0}
    assert found["fair-darts + penalty"] == {}, "the default penalty has a row of its own"
    assert found["hard-concrete"] == {"l0": 0.0}
    assert "hard-concrete + penalty" not in found, "its penalty is off by default"
    assert found["fair-darts (zero_one=3.0)"] == {"zero_one": 3.0}, "what is asked for is measured"


def test_too_few_draws_or_batches_are_refused_before_any_is_made() -> None:
    from pydantic import ValidationError

    for few in (1, 16, 19):
        with pytest.raises(ValidationError, match="at least 20"):
            StudySettings(theta_samples=few)
    for few in (1, 2):
        with pytest.raises(ValidationError, match="at least 3"):
            StudySettings(batches=few)
    assert StudySettings(theta_samples=0).theta_samples == 0
    assert StudySettings(theta_samples=20).theta_samples == 20
