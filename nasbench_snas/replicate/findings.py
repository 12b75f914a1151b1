"""What an experiment is, what it finds, and the page that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["reproduced", "differs", "not comparable"]


@dataclass(frozen=True)
class Finding:
    """One quantity of ours beside the published one.

    Attributes:
        quantity: In words.
        ours: The value, or an interval in words.
        published: What is printed, or the checkable truth that stands for it.
        verdict: By the experiment's rule.
    """

    quantity: str
    ours: str
    published: str
    verdict: Verdict


@dataclass(frozen=True)
class Experiment:
    """A published experiment.

    Attributes:
        name: Of the command line.
        source: Paper and place.
        setting: The published setting, in words.
        rule: How verdicts are reached; written before the first run.
        deviations: What is done otherwise, in words.
        run: Returns the findings; its argument asks for the published size.
    """

    name: str
    source: str
    setting: str
    rule: str
    deviations: str
    run: Callable[[bool], list[Finding]]


def judge(holds: bool) -> Verdict:
    """Return the verdict of a rule that holds or does not."""
    return "reproduced" if holds else "differs"


def page(results: Sequence[tuple[Experiment, Sequence[Finding]]], full: bool) -> str:
    """Return a page in Markdown."""
    size = "the published sizes" if full else "fewer draws, steps or seeds than published"
    lines = [
        "# Published experiments, repeated",
        "",
        f"Made by `nasbench replicate --format md` with {size}.",
        "No number was read off a figure: where a paper prints curves,",
        "the exact optimum, a fixed point, an order or a theorem stands for them.",
    ]
    for experiment, findings in results:
        lines += [
            "",
            f"## {experiment.name}",
            "",
            f"{experiment.source}. {experiment.setting}",
            "",
            f"*Rule, written before the run:* {experiment.rule}",
            "",
            f"*Deviations:* {experiment.deviations}",
            "",
            "| quantity | ours | published | verdict |",
            "|---|---|---|---|",
        ]
        lines += [f"| {f.quantity} | {f.ours} | {f.published} | {f.verdict} |" for f in findings]
    return "\n".join(lines) + "\n"
