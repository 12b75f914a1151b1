"""A search as a call: the command's run, in the command's folder, and nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cells import TINY
from click.testing import CliRunner

import nasbench_snas
from nasbench_snas.cli.main import nasbench
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.runs.start import InterruptedRunError
from nasbench_snas.settings.layers import flatten


def tiny(estimator: Any = "snas", **more: Any) -> nasbench_snas.SearchResult:
    return nasbench_snas.search(estimator, "snas-unit", **{"settings": TINY, **more})


def test_a_call_is_the_run_of_the_command_with_these_settings(tmp_path: Path) -> None:
    given = [f"--set={key}={value}" for key, value in flatten(TINY).items()]
    command = ["--root", str(tmp_path), "run", "-e", "snas", "-s", "snas-unit", "--seed", "3"]
    done = CliRunner().invoke(nasbench, [*command, *given], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (folder,) = (path for path in tmp_path.iterdir() if (path / "config.toml").exists())
    written = (folder / "result.json").read_bytes()
    result = tiny(seed=3, root=tmp_path)
    assert result.folder == folder
    assert (folder / "result.json").read_bytes() == written  # returned, not repeated
    elsewhere = tiny(seed=3)
    assert elsewhere.run_id == result.run_id and elsewhere.folder != result.folder
    assert elsewhere.child_valid_acc == result.child_valid_acc
    assert (elsewhere.folder / "config.toml").read_bytes() == (folder / "config.toml").read_bytes()


def test_without_a_root_the_same_call_finds_its_run_again_until_the_process_ends() -> None:
    events: list[str] = []
    first = tiny(seed=11, progress=lambda event: events.append(event["kind"]))
    assert events.count("epoch") == 2 and events[-1] == "result"
    assert tiny(seed=11, progress=lambda event: events.append("again")) == first
    assert "again" not in events
    again = tiny(seed=11, rerun="all", progress=lambda event: events.append(event["kind"]))
    assert events.count("epoch") == 4 and again.child_valid_acc == first.child_valid_acc


def test_ctrl_c_is_a_typed_error_and_the_same_call_continues_bit_for_bit(tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["kind"] == "step" and event["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRunError, match="The same call continues it") as caught:
        tiny(root=tmp_path, progress=interrupt)
    assert "nasbench run" not in str(caught.value)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    steps: list[int] = []

    def count(event: dict[str, Any]) -> None:
        steps.extend([event["step"]] if event["kind"] == "step" else [])

    continued = tiny(root=tmp_path, progress=count)
    assert steps[0] == 4
    whole = tiny(root=tmp_path / "whole")
    assert continued.child_valid_acc == whole.child_valid_acc
    probs = [np.load(r.folder / "alpha.npz")["probs"] for r in (continued, whole)]
    assert np.array_equal(*probs)


def test_what_a_compiler_makes_of_ctrl_c_does_not_end_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*arguments: Any) -> None:
        raise SystemExit(130)

    monkeypatch.setattr("nasbench_snas.interface.searches.run_search", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny(seed=9)


def test_it_runs_in_an_event_loop_and_in_another_thread(tmp_path: Path) -> None:
    async def cell() -> nasbench_snas.SearchResult:
        return tiny(root=tmp_path / "loop")

    found = [asyncio.run(cell())]
    thread = threading.Thread(target=lambda: found.append(tiny(root=tmp_path / "thread")))
    thread.start()
    thread.join()
    assert found[0].child_valid_acc == found[1].child_valid_acc


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    logger = logging.getLogger("nasbench_snas")
    state = torch.get_rng_state()

    def surroundings() -> tuple[Any, ...]:
        modes = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        return (list(logger.handlers), logger.level, Path.cwd(), *modes)

    before = surroundings()
    tiny(root=tmp_path)
    assert surroundings() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_objects_bring_their_settings_and_settings_win() -> None:
    from nasbench_snas.estimators.rloo import RLOO
    from nasbench_snas.spaces.snas_unit import SnasUnit

    named = nasbench_snas.search(
        "rloo", "snas-unit", settings={**TINY, "estimator.n": 3, "space.nodes": 2}
    )
    given = nasbench_snas.search(RLOO(n=3), SnasUnit(nodes=2), settings=TINY)
    assert given == named and given.record["estimator_params"] == '{"n": 3}'
    other = nasbench_snas.search(
        RLOO(n=3), SnasUnit(nodes=2), settings={**TINY, "estimator": {"n": 2}}
    )
    assert other.record["estimator_params"] == '{"n": 2}'


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ({"estimator": "snass"}, PluginError, "Did you mean 'snas'"),
        ({"settings": {"search.epocs": 3}}, ConfigError, "Did you mean 'search.epochs'"),
        ({"settings": {"search.epochs": None}}, ConfigError, "search.epochs: None cannot"),
        ({"settings": {"search.epochs": "many"}}, ConfigError, "search.epochs"),
        ({"estimator": 3}, ConfigError, "estimator: '3' is a int"),
        ({"space": dict}, ConfigError, "space: .* is a dict"),
        ({"rerun": "al"}, ConfigError, "Did you mean 'all'"),
        ({"plugins": ["missing.py"]}, ConfigError, "there is no file 'missing.py'"),
        ({"device": "tpu"}, ConfigError, "unknown device"),
    ],
)
def test_what_is_wrong_is_a_typed_error_that_says_how_to_mend_it(
    call: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        nasbench_snas.search(**{"estimator": "snas", "space": "snas-unit", **call})


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match="not a folder of runs"):
        tiny(root=tmp_path / "runs")
