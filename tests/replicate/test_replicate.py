"""Published experiments: the fast ones run, rules have teeth, the page and the command say it."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from nasbench_snas.cli.replicate import command
from nasbench_snas.errors import ConfigError
from nasbench_snas.replicate import EXPERIMENTS, experiments, page, run_experiment


@pytest.mark.parametrize(
    "name",
    ["kool-bernoulli", "nasbench201-isomorphic", "nasbench201-parameters", "zero-temperature"],
)
def test_fast_experiments_are_reproduced(name):
    _, findings = run_experiment(name)
    assert {finding.verdict for finding in findings} == {"reproduced"}


@pytest.mark.slow
def test_straight_through_stalls_at_its_fixed_point_and_reinmax_does_not():
    probability, loss = experiments.polynomial("straight-through", 3.0, 0.05, 300, 32, 0)
    fixed = 0.45**2 / (0.45**2 + 0.55**2)
    assert probability == pytest.approx(fixed, abs=0.03)
    better = experiments.polynomial("reinmax", 3.0, 0.05, 300, 32, 0)[1]
    assert 0.45**3 < better < loss - 0.01


def test_a_wrong_estimator_is_found_to_differ(monkeypatch):
    # Straight-through in the place of ReinMax: the theorem no longer holds.
    original = experiments.estimate

    def swapped(logits, f, *, estimator, generator, **settings):
        name = "straight-through" if estimator == "reinmax" else estimator
        return original(logits, f, estimator=name, generator=generator, **settings)

    monkeypatch.setattr(experiments, "estimate", swapped)
    assert run_experiment("zero-temperature")[1][0].verdict == "differs"


def test_strings_of_cells_merge_what_the_paper_merges_and_no_more():
    from nasbench_snas.replicate.published_table import string_of

    conv, skip, none = 3, 1, 0
    nothing = [none] * 6
    # a convolution of a zero is a zero, but a sum of zeros is a sum
    assert string_of([none, conv, none, none, none, none], True) == "#+#+#"
    assert string_of(nothing, True) == "#+#+#" != string_of(nothing, False)
    # a skip is its source, and the order of a node's inputs does not matter
    assert string_of([skip, none, none, conv, skip, none], False) == string_of(
        [skip, none, none, skip, conv, none], False
    )
    assert string_of([conv] * 6, False) != string_of([conv] * 5 + [skip], False)


@pytest.mark.slow
def test_a_bit_is_learnt_and_control_variates_reduce_the_variance():
    from nasbench_snas.functional import make_estimator
    from nasbench_snas.replicate.variance import train_bit

    probability, draws = train_bit(make_estimator("rebar"), 0.1, 400)
    assert probability < 0.3  # b = 0 costs .01, b = 1 costs .81
    plain = train_bit(make_estimator("reinforce", baseline="none"), 0.1, 400)[1]
    assert torch.tensor(draws).var() < torch.tensor(plain).var()


def test_page_states_rule_and_deviations_of_each_experiment():
    results = [run_experiment("zero-temperature")]
    text = page(results, full=False)
    experiment = results[0][0]
    assert experiment.rule in text and experiment.deviations in text
    assert "| reproduced |" in text and "fewer draws" in text


def test_command_lists_runs_and_refuses():
    runner = CliRunner()
    listed = runner.invoke(command, ["--list"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in EXPERIMENTS)
    ran = runner.invoke(command, ["zero-temperature"])
    assert ran.exit_code == 0 and "reproduced" in ran.output
    refused = runner.invoke(command, ["kool-bernouli"])
    assert isinstance(refused.exception, ConfigError)
    assert "kool-bernoulli" in str(refused.exception)
