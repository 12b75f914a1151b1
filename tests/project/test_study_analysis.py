"""The analysis of the registered study: its tests on cases with a known answer, and its pages."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "studies" / "does-bias-matter"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the module ``analyse`` of the page, with few resamples."""
    backend = mpl.get_backend()
    monkeypatch.syspath_prepend(str(FOLDER))
    with mpl.rc_context():
        module = importlib.import_module("analyse")
        monkeypatch.setattr(module, "RESAMPLES", 400)
        yield module
    mpl.use(backend)
    for name in ("analyse", "arms", "explore", "tables"):
        sys.modules.pop(name)


def searches(column: str, values: dict[str, list[float]], **more: dict[str, str]) -> pd.DataFrame:
    """Return runs by estimator; their seeds are 0, 1, 2 and so on."""
    return pd.DataFrame(
        [
            {"estimator": name, "seed": seed, column: value}
            | {key: of[name] for key, of in more.items()}
            for name, row in values.items()
            for seed, value in enumerate(row)
        ]
    )


def test_rank_correlation_is_one_where_regret_grows_with_the_error(study: ModuleType) -> None:
    error = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 9.0, "f": math.nan, "g": 0.1})
    regret = pd.DataFrame(np.outer([1.0, 4, 9, 16, 25, 0], np.ones(4)), index=list("abcdef"))
    found = study.rank_correlation(error, regret)  # f has no error, g no regret
    assert found["n"] == 5
    assert [found[key] for key in ("value", "low", "high")] == pytest.approx([1.0] * 3)
    assert 1 / 401 < found["p"] < 0.05  # 2 of 120 orders are as extreme
    assert study.rank_correlation(-error, regret)["value"] == pytest.approx(-1.0)


def test_the_interval_of_a_rank_correlation_has_the_spread_of_seeds(study: ModuleType) -> None:
    error = pd.Series(dict(zip("abcde", range(5), strict=True)))
    spread = np.array([-40.0, 40.0, -40.0, 40.0])
    regret = pd.DataFrame([base + spread for base in range(5)], index=list("abcde"))
    found = study.rank_correlation(error, regret)
    assert found["value"] == pytest.approx(1.0)
    assert found["low"] < 0.3


def test_without_differences_nothing_is_correlated(study: ModuleType) -> None:
    regret = pd.DataFrame(np.ones((4, 3)), index=list("abcd"))
    found = study.rank_correlation(pd.Series(dict(zip("abcd", range(4), strict=True))), regret)
    assert math.isnan(found["value"])
    assert found["p"] == 1.0


def test_pairs_are_first_minus_second_on_shared_seeds(study: ModuleType) -> None:
    one, two = [float(i) for i in range(8)], [2.0 * i + 1 for i in range(8)]
    found = study.paired(searches("x", {"one": one, "two": [*two, 99.0]}), "x", "one", "two")
    assert (found["n"], found["value"], found["p"]) == (8, -4.5, 2 / 2**8)
    assert (found["low"], found["high"]) == (-8.0, -1.0)
    assert study.paired(searches("x", {"one": one}), "x", "one", "two")["p"] == 1.0


@pytest.mark.parametrize(
    ("difference", "p"),
    [
        ([1.0, 1.0, -1.0], 1.0),  # every choice of signs is as extreme
        ([3.0] * 6, 2 / 64),
        ([3.0] * 6 + [0.0] * 4, 2 / 64),
        ([1.0, 2.0, 3.0, 4.0, -5.0], 20 / 32),  # ten sums up to 5, ten from 10 on
        ([0.0, 0.0], 1.0),
    ],
)
def test_signed_ranks_are_exact_with_ties(
    study: ModuleType, difference: list[float], p: float
) -> None:
    assert study.signed_ranks(np.array(difference)) == pytest.approx(p)


@pytest.mark.parametrize(
    ("value", "low", "high", "adjusted", "sign", "told"),
    [
        (-3.0, -5.0, -1.0, 0.05, -1, "yes"),
        (-3.0, -5.0, -1.0, 0.05, 1, "the opposite"),
        (-3.0, -5.0, -1.0, 0.051, -1, "open"),
        (0.5, -2.0, 2.0, 0.9, -1, "no"),
        (0.5, -2.1, 1.0, 0.9, -1, "open"),
        (0.5, -1.0, 2.1, 0.9, -1, "open"),
        (math.nan, math.nan, math.nan, 0.01, 1, "open"),
    ],
)
def test_answers_are_as_registered(
    study: ModuleType, value: float, low: float, high: float, adjusted: float, sign: int, told: str
) -> None:
    row = {"n": 9, "value": value, "low": low, "high": high, "p": adjusted}
    assert study.answer(row, adjusted, sign, 2.0) == told


def test_exposure_is_one_hot_minus_mixture_of_medians_of_means(study: ModuleType) -> None:
    accuracy = {"a": [78.0, 82], "b": [80.0, 84], "c": [90.0, 98], "d": [9.0, 11], "e": [10.0, 14]}
    views = dict(zip("abcdef", ["hard"] * 3 + ["soft", "mean", "soft"], strict=True))
    runs = searches("child_valid_acc", accuracy | {"f": [math.nan] * 2}, search_view=views)
    found = study.exposure_difference(runs)  # 82 of 80, 82, 94 against 11 of 10, 12; f: no child
    assert (found["n"], found["value"]) == (5, 71.0)
    assert found["p"] == pytest.approx(3 / 10, abs=0.08)  # of ten choices three are as extreme
    assert 68.0 <= found["low"] < 71.0 < found["high"] <= 84.0
    alone = study.exposure_difference(runs[runs["search_view"] == "hard"])
    assert math.isnan(alone["value"])
    assert alone["p"] == 1.0


def test_a_diverged_run_has_the_regret_of_the_worst(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = '{"datasets": {"cifar10": {"regret": 1.5}, "cifar100": {"regret": 7}}}'
    runs = pd.DataFrame(
        {
            "stage": ["search"] * 4 + ["retrain"],
            "status": ["done", "diverged", "diverged", "running", "done"],
            "space": ["nasbench201", "nasbench201", "snas-unit", "snas-unit", "snas-unit"],
            "truth": [truth, None, None, None, truth],
        }
    )
    monkeypatch.setattr("nasbench_snas.load_results", lambda packs: runs)
    found = study.read_runs()["known_regret"].tolist()
    assert found == pytest.approx([1.5, 81.894667, 92.84 - 10.10], abs=0.01)


def test_an_arm_has_the_runs_of_its_settings_only(study: ModuleType) -> None:
    """The rate of one arm is the preset's of another, and estimators differ in theirs."""
    page = "docs/studies/does-bias-matter.md"
    ones = {
        "preset": ("preset, ", "enas", 0.0035, 1000),
        "tuning": ("three values, ", "snas", 0.03, 500),
    }
    rows = [
        {"name": name, "settings_from": words + page, "estimator": estimator, "seed": seed}
        | {"alpha_settings": f'{{"lr": {rate}}}'}
        for name, (words, estimator, rate, seed) in ones.items()
    ]
    rows += [rows[1] | {"name": "other rate", "alpha_settings": '{"lr": 0.003}'}]
    rows += [rows[0] | {"name": "other seed", "seed": 500}]
    runs = pd.DataFrame(rows).assign(space="snas-unit", constraint="none", dataset="digits")
    assert study.arm(runs, "unit-core")["name"].tolist() == ["preset"]
    assert study.arm(runs, "unit-tuning-0.03")["name"].tolist() == ["tuning"]
    assert study.arm(runs, "unit-tuning-0.003")["name"].tolist() == ["other rate"]
    assert study.arm(runs, "nasbench201-core").empty


def test_errors_are_of_three_trajectories_with_an_interval(study: ModuleType) -> None:
    rows = [
        {"estimator": name, "point": "late", "trajectory": seed, "bias": bias, "mse": bias + 1}
        for name, low in (("a", 1.0), ("b", 2.0))
        for seed, bias in zip((1000, 1001, 1002), (low, low + 1, low + 2), strict=True)
    ]
    errors = pd.DataFrame(rows)
    assert study.late_errors(errors)["mse"].to_dict() == {"a": 3.0, "b": 4.0}
    assert study.late_errors(errors[errors["trajectory"] < 1002]).empty
    errors.loc[4, ["bias", "mse"]] = math.nan
    assert study.late_errors(errors)["bias"].dropna().to_dict() == {"a": 2.0}


def test_a_correlation_that_exposure_explains_is_none_given_exposure(study: ModuleType) -> None:
    partial = importlib.import_module("explore").partial
    given = np.repeat([0.0, 1.0], 4)
    inside = np.tile([1.0, 2.0, 3.0, 4.0], 2)
    x, y = 10 * given + inside, 10 * given + np.tile([2.0, 4.0, 1.0, 3.0], 2)
    assert stats.spearmanr(x, y).statistic == pytest.approx(1 - 6 * 20 / (8 * 63))
    assert abs(partial(x, y, given)) < 1e-9  # orthogonal orders within each group
    assert partial(x, 10 * given - inside, given) == pytest.approx(-1)
    assert math.isnan(partial(x, y, np.ones(8)))


def test_the_rate_is_the_best_and_ties_go_to_the_middle_one(study: ModuleType) -> None:
    chosen = importlib.import_module("explore").chosen_rates
    means = pd.DataFrame(
        {"0.003": [9.0, 8.0, 7.0], "0.01": [9.0, 7.0, 5.0], "0.03": [9.0, 9.0, 7.0]},
        index=["tied", "high", "low and high"],
    )
    assert chosen(means).to_dict() == {"tied": "0.01", "high": "0.03", "low and high": "0.003"}


def test_levels_are_compared_on_shared_seeds(study: ModuleType) -> None:
    rows = [
        {"constraint": level, "seed": seed, "child_valid_acc": acc, "params": 1e3, "macs": 1e4}
        for level, low in (("none", 90.0), ("mild", 80.0))
        for seed in range(1000, 1000 + (8 if level == "none" else 7))
        for acc in [low + seed - 1000]
    ]
    found = importlib.import_module("explore").constraint_rows(
        pd.DataFrame(rows).assign(
            estimator="snas",
            space="darts-cnn",
            dataset="digits",
            alpha_settings='{"lr": 0.01}',
            settings_from="preset, docs/studies/does-bias-matter.md",
        )
    )
    assert [row[:2] for row in found] == [["none", "8"], ["mild", "7"]]
    assert [row[5] for row in found] == ["—", "-10.0 [-10.0, -10.0]"]


def test_the_pages_are_what_the_committed_runs_give(study: ModuleType, tmp_path: Path) -> None:
    study.main(tmp_path)
    for name in ("results.inc", "truth.inc"):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text(), name
