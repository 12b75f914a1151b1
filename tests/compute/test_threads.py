"""Small work gets one thread, whatever the machine has, and leaves the setting as it was."""

import json

import pytest
import torch
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.compute.threads import GRAIN, threads_for


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("elements", "threads"),
    [(0, 1), (GRAIN - 1, 1), (2 * GRAIN, 2), (3 * GRAIN + 1, 3), (100 * GRAIN, 4)],
)
def test_a_thread_for_every_grain_but_no_more_than_there_were(four_threads, elements, threads):
    with threads_for(elements) as count:
        assert count == torch.get_num_threads() == threads
    assert torch.get_num_threads() == 4


def test_the_threads_are_given_back_after_an_error(four_threads):
    with pytest.raises(ZeroDivisionError), threads_for(1):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 4


def test_a_smoke_search_runs_and_is_recorded_with_one_thread(four_threads, tmp_path):
    command = ["--root", str(tmp_path), "run", "-e", "random", "-s", "snas-unit"]
    result = CliRunner().invoke(nasbench, [*command, "--max-epochs", "1"])
    assert result.exit_code == 0, result.output
    (environment,) = tmp_path.glob("*/env.json")
    assert json.loads(environment.read_text())[-1]["threads"] == 1
    assert torch.get_num_threads() == 4
