"""Which of the fourteen best practices for research on architecture search a set of runs meets.

Reference: Lindauer and Hutter 2020, arXiv:1909.02453 (JMLR 21, 243), sections 2 to 4. The wording
is ours. Every rule is judged from what the run folders hold, by a rule written here; what they do
not hold counts as not met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import computing
from .ablation import ablation_tables
from .baselines import is_random_sampling, is_random_search
from .context import run_changes
from .model import MEASURED, Column, Table, Value, text
from .selection import FAILED, Comparable, Run

FEWEST_SEEDS = 5
MET, PARTLY, NOT = "met", "partly", "not met"
Judged = tuple[str, str]
"""The verdict and what it rests on."""


@dataclass(frozen=True)
class Evidence:
    """What the rules look at.

    Attributes:
        rows: All rows, failed and unfinished runs too.
        groups: Comparable searches.
    """

    rows: Sequence[Run]
    groups: Sequence[Comparable]

    @property
    def searches(self) -> list[Run]:
        """Rows of searches."""
        return [row for row in self.rows if row["stage"] == "search"]

    @property
    def finished(self) -> list[Run]:
        """Searches that are shown in tables."""
        return [run for group in self.groups for run in group.runs]

    @property
    def trained(self) -> list[Run]:
        """Searches and retrainings."""
        return [row for row in self.rows if row["stage"] in ("search", "retrain", "transfer")]


def checklist(rows: Sequence[Run], groups: Sequence[Comparable]) -> Table:
    """Return the checklist of a report."""
    evidence = Evidence(rows, groups)
    body = []
    for number, (title, judge) in enumerate(_RULES, start=1):
        verdict, words = judge(evidence)
        body.append((Value(str(number), float(number)), text(title), text(verdict), text(words)))
    open_ = [row[0].text for row in body if row[2].text != MET]
    told = f"Not (fully) met: rules {', '.join(open_)}." if open_ else "All rules are met."
    return Table(
        key="checklist",
        title="Best practices of Lindauer and Hutter (arXiv:1909.02453)",
        columns=(
            Column("number", "Rule"),
            Column("title", "What is asked for", numeric=False),
            Column("verdict", "Met", MEASURED, numeric=False),
            Column("evidence", "From the run folders", MEASURED, numeric=False),
        ),
        rows=tuple(body),
        notes=(told, "Judged from the run folders alone; what they do not hold is not met."),
        subject=f"{len(evidence.searches)} searches, {len(rows)} rows",
        slug="checklist",
    )


def _share(runs: Sequence[Run], holds: Callable[[Run], bool], words: str) -> Judged:
    """Return met, partly or not met by how many runs something holds for."""
    count = sum(holds(run) for run in runs)
    verdict = MET if runs and count == len(runs) else PARTLY if count else NOT
    return verdict, f"{count} of {len(runs)} runs {words}"


def _has(run: Run, name: str) -> bool:
    return (Path(str(run["folder"])) / name).is_file()


def _as_it_ran(run: Run) -> bool:
    return bool(run["git_sha"]) and (run["dirty"] is False or _has(run, "env.diff"))


def _pipeline(found: Evidence) -> Judged:
    commits = sorted({str(run["git_sha"])[:10] for run in found.trained if run["git_sha"]})
    verdict, words = _share(found.trained, lambda run: bool(run["git_sha"]), "name their commit")
    return (
        verdict,
        f"{words} ({', '.join(commits[:4]) or 'none'}); whether that is public, no folder can say",
    )


def _method(found: Evidence) -> Judged:
    stale = sum(bool(run["stale_source"]) for run in found.searches)
    verdict, words = _share(
        found.searches, lambda run: bool(run["estimator_source"]), "hold their estimator's hash"
    )
    return verdict, f"{words}; {stale} differ from what is installed"


def _uncleaned(found: Evidence) -> Judged:
    words = "can be traced to code as it ran (a commit, with the difference where there was one)"
    return _share(found.trained, _as_it_ran, words)


def _benchmark(found: Evidence) -> Judged:
    several = [group for group in found.groups if len(group.variants) > 1]
    if not several:
        return NOT, "no two estimators share a space, its size, images and training"
    alone = len(found.groups) - len(several)
    words = "; ".join(group.subject for group in several[:3])
    return (PARTLY if alone else MET), f"{words}" + (f"; {alone} settings alone" if alone else "")


def _ablations(found: Evidence) -> Judged:
    tables = ablation_tables(found.rows)
    changed = sum(len(table.rows) - 1 for table in tables)
    return (MET if tables else NOT), f"{changed} settings changed one at a time (table ablation)"


def _protocol(found: Evidence) -> Judged:
    notes = {str(run["protocol_note"]) for run in found.finished}
    old = sum(run["reporting_images"] is None for run in found.finished)
    chosen = {str(r["selection"]) for r in found.rows if r["stage"] == "retrain" and r["selection"]}
    words = "; ".join(sorted(notes)) or "no finished search"
    if chosen:
        words += f"; retrained by {' and '.join(sorted(chosen))}"
    if old:
        words += f"; {old} runs without a reporting part"
    return (MET if len(notes) == 1 and not old and len(chosen) < 2 else PARTLY), words


def _over_time(found: Evidence) -> Judged:
    words = "hold accuracy, seconds and entropy of every epoch (figures 3 and 4)"
    return _share(found.finished, lambda run: _has(run, "events.jsonl"), words)


def _random(found: Evidence) -> Judged:
    searched = sampled = 0
    for group in found.groups:
        rows = [variant for variant in group.variants if variant.runs]
        searched += any(is_random_search(variant) for variant in rows)
        sampled += any(is_random_sampling(variant) for variant in rows)
    total = len(found.groups)
    words = f"of {total} tables {searched} have random search, {sampled} random sampling"
    complete = total and searched == sampled == total
    return (MET if complete else PARTLY if searched or sampled else NOT), words


def _seeds(found: Evidence) -> Judged:
    counts = [
        len(variant.runs) + len(variant.failed) for g in found.groups for variant in g.variants
    ]
    if not counts:
        return NOT, "no finished search"
    words = f"{min(counts)} to {max(counts)} seeds a row; asked here: {FEWEST_SEEDS}"
    return (MET if min(counts) >= FEWEST_SEEDS else PARTLY if min(counts) > 1 else NOT), words


def _tabular(found: Evidence) -> Judged:
    known = [run for run in found.finished if run["truth"] or run["test_regret"] is not None]
    spaces = sorted({str(run["space"]) for run in known})
    words = f"{len(known)} of {len(found.finished)} searches have a known space"
    return (MET if known else NOT), words + (f" ({', '.join(spaces)})" if spaces else "")


_CONFOUNDERS = ("device_name", "torch", "suite_version", "precision", "deterministic", "images")


def _confounders(found: Evidence) -> Judged:
    mixed: dict[str, list[str]] = {}
    for group in found.groups:
        for name in _CONFOUNDERS:
            values = sorted({str(run[name]) for run in group.runs})
            if len(values) > 1:
                mixed.setdefault(name, values)
    if not mixed:
        return (MET if found.groups else NOT), f"the same in every table: {', '.join(_CONFOUNDERS)}"
    words = "; ".join(f"{name}: {' | '.join(values[:3])}" for name, values in mixed.items())
    return NOT, f"differ within a table: {words}"


def _tuning(found: Evidence) -> Judged:
    purposes: dict[str, int] = {}
    for run in found.searches:
        purpose = str(run["purpose"] or "not recorded")
        purposes[purpose] = purposes.get(purpose, 0) + 1
    told = ", ".join(f"{count} {name}" for name, count in sorted(purposes.items()))
    chosen = [r for r in found.searches if r["purpose"] != "tuning" and not _explained(r)]
    spent = computing.seconds([r for r in found.searches if r["purpose"] == "tuning"])
    words = f"purposes: {told or 'none'}; tuning took {computing.duration(spent.total)}"
    if chosen:
        words += f"; {len(chosen)} runs changed settings of their preset and do not say how"
    if "not recorded" in purposes or not purposes:
        return NOT, words
    return (PARTLY if chosen else MET), words


def _explained(run: Run) -> bool:
    return bool(run["settings_from"]) or not run_changes(run)


def _end_to_end(found: Evidence) -> Judged:
    parts: Mapping[str, list[Run]] = {
        "searches": found.searches,
        "of these failed or unfinished": [r for r in found.searches if r["status"] != "done"],
        "of these tuning": [r for r in found.searches if r["purpose"] == "tuning"],
        "retrainings": [r for r in found.trained if r["stage"] != "search"],
    }
    spent = {name: computing.seconds(runs) for name, runs in parts.items()}
    words = "; ".join(f"{name}: {computing.told(value)}" for name, value in spent.items())
    unknown = sum(value.unknown for value in (spent["searches"], spent["retrainings"]))
    return (PARTLY if unknown else MET if found.trained else NOT), words


_DETAILS = ("config.toml", "env.json", "env.freeze.txt", "status.json")


def _details(found: Evidence) -> Judged:
    words = "hold all settings, versions of every package, the machine and the command"
    runs = found.trained
    verdict, told = _share(runs, lambda run: all(_has(run, name) for name in _DETAILS), words)
    failed = sum(run["status"] in FAILED for run in runs)
    return verdict, f"{told}; {failed} failed runs are named"


_RULES: tuple[tuple[str, Callable[[Evidence], Judged]], ...] = (
    ("Code of the training pipelines is given", _pipeline),
    ("Code of the search method is given", _method),
    ("Code is given as it was used, not once it is tidy", _uncleaned),
    ("Methods are compared on one benchmark: space and training, not just images", _benchmark),
    ("Ablation studies are run", _ablations),
    ("One evaluation protocol serves all methods", _protocol),
    ("Performance is compared over time", _over_time),
    ("Random sampling and random search are compared with", _random),
    ("Experiments are repeated with several seeds", _seeds),
    ("Tabular or surrogate benchmarks are used where possible", _tabular),
    ("Confounding factors are controlled", _confounders),
    ("Tuning of hyper-parameters is reported, with what it took", _tuning),
    ("The time of the whole method is reported, from end to end", _end_to_end),
    ("All details of the experimental setup are reported", _details),
)
