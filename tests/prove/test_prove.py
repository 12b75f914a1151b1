"""The command that proves a device: rows are written as they come, and what fails is a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from nasbench_snas.cli.main import nasbench
from nasbench_snas.kernels.folded import FoldedKernels
from nasbench_snas.kernels.triton import support
from nasbench_snas.prove import equality, repeats, run, timing, training
from nasbench_snas.prove.context import Check, Context, Finding
from nasbench_snas.prove.equality import CASES, Case, compared, judged
from nasbench_snas.prove.record import Record, Row
from nasbench_snas.registry import Registry
from nasbench_snas.runs.folder import RunFolder

SMALL = Case("small", ("avg_pool_3x3", "sep_conv_3x3"), shape=(2, 1, 1, 4, 1, 2))


def prove(folder: Path, *checks: Check, minutes: float = 1.0) -> Record:
    return run.prove("cpu", folder, Registry(), minutes=minutes, short=True, ranks=1, checks=checks)


def check(name: str, *findings: Finding | Exception, seconds: float = 0.0) -> Check:
    """A check whose rows are given."""

    def rows(context: Context) -> Iterator[Row]:
        for number, finding in enumerate(findings):

            def find(finding: Finding | Exception = finding) -> Finding:
                if isinstance(finding, Exception):
                    raise finding
                return finding

            yield context.row(name, f"case {number}", find)

    return Check(name, rows, seconds)


def test_what_fails_or_breaks_is_a_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    record = prove(
        tmp_path,
        check("one", (True, {"error": 1e-9}), (False, {"error": 0.5}), RuntimeError("boom | bar")),
        check("two", (None, {"s": 0.25})),
    )
    assert [row.status for row in record.rows] == ["passed", "failed", "error", "measured"]
    content = json.loads((tmp_path / "prove.json").read_text())
    assert content["finished"] == ["one", "two"] and content["running"] == ""
    page = (tmp_path / "prove.md").read_text()
    assert "**failed**" in page and "boom \\| bar" in page and "s 0.25" in page


def test_a_proof_continues_and_a_check_that_ended_the_process_is_not_tried_again(
    tmp_path: Path,
) -> None:
    class Died(BaseException):
        pass

    def rows(context: Context) -> Iterator[Row]:
        yield context.row("two", "before", lambda: (True, {}))
        raise Died

    first = check("one", (True, {}))
    with pytest.raises(Died):
        prove(tmp_path, first, Check("two", rows, 0.0), check("three", (True, {})))
    refused = check("one", AssertionError("run again"))
    record = prove(tmp_path, refused, Check("two", rows, 0.0), check("three", (True, {})))
    assert [(row.check, row.status) for row in record.rows] == [
        ("one", "passed"), ("two", "passed"), ("two", "error"), ("three", "passed"),
    ]  # fmt: skip
    assert "process ended" in record.rows[2].note


def test_rows_of_other_versions_or_devices_are_left(tmp_path: Path) -> None:
    prove(tmp_path, check("one", (True, {})))
    file = tmp_path / "prove.json"
    file.write_text(file.read_text().replace('"torch": "', '"torch": "0.'))
    assert prove(tmp_path, check("one", (False, {}))).rows[0].status == "failed"
    file.write_text("{")
    assert len(prove(tmp_path, check("one", (True, {}))).rows) == 1


def test_tf32_is_off_in_every_check_also_of_a_continued_proof(tmp_path: Path) -> None:
    backends = torch.backends.cuda.matmul, torch.backends.cudnn

    def rows(context: Context) -> Iterator[Row]:
        allowed = [backend.allow_tf32 for backend in backends]
        yield context.row("tf32", "flags", lambda: (not any(allowed), {}))

    before = [backend.allow_tf32 for backend in backends]
    prove(tmp_path, run.CHECKS[0])
    record = prove(tmp_path, run.CHECKS[0], Check("tf32", rows, 0.0))
    assert [row.status for row in record.rows] == ["measured", "passed"]
    assert [backend.allow_tf32 for backend in backends] == before and any(before)


def test_a_search_that_was_never_killed_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unstoppable(config: object, registry: Registry, folder: RunFolder, options: object) -> None:
        folder.path.mkdir(parents=True)
        folder.append_event({"kind": "epoch", "step": 16})

    monkeypatch.setattr(training, "run_search", unstoppable)
    context = Context("cpu", tmp_path, Registry(), short=True)
    (row,) = training.resume(context)
    assert row.status == "error" and "before it was killed" in row.note


def test_without_triton_what_needs_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "installed", lambda: False)
    monkeypatch.setattr(timing, "rates", lambda context: {})
    monkeypatch.setattr(timing, "sized", lambda *a: (None, {}))
    context = Context("cpu", tmp_path, Registry())
    rows = [*timing.times(context), *timing.compilations_of(context), *run.interpreted(context)]
    skipped = [row for row in rows if row.status == "skipped"]
    assert len(skipped) == 5 and {row.note for row in skipped} == {support.NOT_INSTALLED}
    assert {row.status for row in rows} == {"skipped", "measured"}


def test_a_check_without_time_is_skipped_and_has_another_chance(tmp_path: Path) -> None:
    late = check("late", (True, {}), seconds=3600)
    assert prove(tmp_path, late).rows[0].status == "skipped"
    assert prove(tmp_path, late, minutes=120).rows[0].status == "passed"


class Wrong(FoldedKernels):
    """Kernels with a small error in one place: the mix adds a thousandth too much."""

    def mix_forward(self, z, entries, candidates, out):  # type: ignore[no-untyped-def]
        super().mix_forward(z * 1.001, entries, candidates, out)


def test_a_wrong_kernel_is_found(tmp_path: Path) -> None:
    context = Context("cpu", tmp_path, Registry())
    context.made[torch.float64] = FoldedKernels()
    assert compared(SMALL, context)[0] is True
    context.made[torch.float64] = Wrong()
    holds, values = compared(SMALL, context)
    assert holds is False and values["worst relative error"] > 1e-5


def test_a_whole_parent_in_single_precision_is_asked_again_with_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value on the other side of a ReLU is no error; what is wrong stays wrong."""
    judge, calls = judged, []

    def unlucky(*given: Any) -> Any:
        calls.append(given)
        return (False, {"worst relative error": 1e-3}) if len(calls) == 1 else judge(*given)

    monkeypatch.setattr(equality, "judged", unlucky)
    case = Case("parent", dtype=torch.float32, cells=1, shape=(2, 1, 1, 8, 1, 2))
    context = Context("cpu", tmp_path, Registry())
    for kernels, wanted in ((FoldedKernels(), True), (Wrong(), False)):
        calls.clear()
        context.made[torch.float32] = kernels
        holds, values = compared(case, context)
        assert holds is wanted and len(calls) == 3, values


def test_a_nan_or_a_missing_gradient_is_no_agreement() -> None:
    one = {"a": torch.ones(2)}
    assert judged(one, {"a": torch.ones(2)}, 1e-6)[0] is True
    assert judged(one, {"a": torch.tensor([1.0, float("nan")])}, 1e-6)[0] is False
    many = {name: torch.ones(2) for name in "abcdefgh"}
    holds, values = judged(many, {**many, "d": torch.full((2,), float("nan"))}, 1e-6)
    assert holds is False and values["of"] == "d"
    assert judged(one, {}, 1e-6)[0] is False
    assert judged({"a": torch.zeros(2)}, {}, 1e-6)[0] is True


def test_samples_of_another_distribution_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context("cpu", tmp_path, Registry(), short=True)
    assert repeats.noise_moments(context)[0] is True
    draw = repeats.gumbel
    monkeypatch.setattr(repeats, "gumbel", lambda *a: 1.03 * draw(*a))
    assert repeats.noise_moments(context)[0] is False
    monkeypatch.setattr(repeats, "gumbel", lambda *a: draw(*a) + 0.03)
    assert repeats.noise_moments(context)[0] is False
    assert repeats.choice_frequencies(context)[0] is True


def test_a_nan_of_the_concrete_gradient_is_found(tmp_path: Path) -> None:
    class Broken(FoldedKernels):
        def concrete_backward(self, z: torch.Tensor, g: torch.Tensor, tau: float) -> torch.Tensor:
            return super().concrete_backward(z, g, tau).log()

    context = Context("cpu", tmp_path, Registry())
    for kernels, holds in ((FoldedKernels(), True), (Broken(), False)):
        context.made[torch.float32] = kernels
        assert repeats.concrete(context)[0] is holds


def test_the_command_ends_with_the_code_of_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, finding in enumerate([(True, {"n": 1}), (False, {"n": 2.5})]):
        monkeypatch.setattr(run.prove, "__kwdefaults__", {
            **(run.prove.__kwdefaults__ or {}), "checks": (check("one", finding),),
        })  # fmt: skip
        arguments = ["prove", "--device", "cpu", "--short", "--out", str(tmp_path / str(number))]
        done = CliRunner().invoke(nasbench, arguments, standalone_mode=False)
        assert done.return_value == number, done.output
        assert "1 rows" in done.output


def test_every_kind_of_case_is_there_and_some_are_small_enough_for_the_interpreter() -> None:
    kinds = {case.dtype for case in CASES}
    assert kinds == set(equality.TOLERANCE)
    assert any(case.hot for case in CASES) and any(case.draws > 1 for case in CASES)
    assert any(case.masked for case in CASES) and any(not case.train for case in CASES)
    assert sum(case.interpreted for case in CASES) >= 3
    assert [c.name for c in run.CHECKS][:2] == [run.ENVIRONMENT, equality.CHECK]
