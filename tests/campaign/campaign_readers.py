"""The readers of the suite, each with an input that is right and a check of what it accepts."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from campaign_judge import WrongError
from campaign_mutations import (
    TOKENS,
    mutated_bytes,
    mutated_json,
    mutated_lines,
    mutated_text,
)
from campaign_store import STUDY

Make = Callable[[random.Random], Any]
Read = Callable[[Any], None]


@dataclass(frozen=True)
class Reader:
    """A reader and how many inputs of 10,000 it gets.

    Attributes:
        name: For the counts.
        share: Inputs of 10,000.
        make: Makes an input.
        read: Reads it; raises :class:`WrongError` where it accepts what is not right.
    """

    name: str
    share: int
    make: Make
    read: Read


def expect(right: bool, what: str) -> None:
    """Raise :class:`WrongError` unless ``right``."""
    if not right:
        raise WrongError(what)


def finite(value: Any) -> bool:
    """Whether all numbers in plain containers are finite."""
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list | tuple):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


def readers(store: Path, scratch: Path) -> list[Reader]:
    """Return all readers.

    Args:
        store: A store that :func:`campaign_store.make_store` made.
        scratch: A folder to write inputs to.
    """
    from campaign_readers_of_runs import readers_of_runs

    scratch.mkdir(parents=True, exist_ok=True)
    search = next(store.glob("snas-snas-unit-smoke-s0-*"))
    return [
        *_settings_readers(search, store, scratch),
        *_text_readers(search),
        *_file_readers(store, scratch),
        *readers_of_runs(store, scratch),
    ]


def _settings_readers(search: Path, store: Path, scratch: Path) -> list[Reader]:
    from nasbench_snas.architecture.schedules import anneal
    from nasbench_snas.executors.sweep import load_sweep
    from nasbench_snas.registry import Registry
    from nasbench_snas.search.plan import complete, load_config, plan_run
    from nasbench_snas.settings.layers import flatten_fields
    from nasbench_snas.settings.retrain import retraining_from_toml
    from nasbench_snas.settings.run import RunConfig, from_toml
    from nasbench_snas.settings.toml import to_toml
    from nasbench_snas.study.plan import plan_study

    registry = Registry()
    config = (search / "config.toml").read_text()
    retraining = next((store / "_retrain").glob("*/config.toml")).read_text()
    sweep = 'estimators = ["snas", "darts"]\nspaces = ["snas-unit"]\nseeds = "0-3"\nset = []\n'
    file, keys = scratch / "settings.toml", sorted(flatten_fields(RunConfig))

    def text(base: str) -> Make:
        return lambda chance: mutated_text(chance, base)

    def put(content: str) -> Path:
        file.write_bytes(content.encode("utf-8", "surrogatepass"))
        return file

    def read_config(content: str) -> None:
        found = load_config(put(content))
        expect(from_toml(to_toml(found, {})) == found, "another text for the same settings")
        full = complete(registry, found, {}).config
        expect(finite(full.model_dump(mode="python")), "a setting is not finite")

    def read_retraining(content: str) -> None:
        found = retraining_from_toml(content)
        expect(retraining_from_toml(to_toml(found, {})) == found, "another text")
        expect(finite(found.model_dump(mode="python")), "a setting is not finite")

    def read_sweep(content: str) -> None:
        found = load_sweep(put(content))
        expect(len(found.seeds) <= 100_000, "more seeds than anybody means")

    def read_study(content: str) -> None:
        found = plan_study(registry, file=put(content))
        expect(finite(found.model_dump(mode="python")), "a setting is not finite")

    def make_override(chance: random.Random) -> str:
        key = chance.choice(keys) if chance.random() < 0.8 else chance.choice(TOKENS)
        return mutated_text(chance, f"{key}={chance.choice(TOKENS)}")

    def read_override(assignment: str) -> None:
        found = plan_run(registry, "snas", "snas-unit", assignments=[assignment]).config
        expect(finite(found.model_dump(mode="python")), "a setting is not finite")
        expect(from_toml(to_toml(found, {})) == found, "another text for the same settings")

    def make_space(chance: random.Random) -> tuple[str, str]:
        name = chance.choice(("snas-unit", "darts-cnn", "nasbench201"))
        key = chance.choice(("channels", "nodes", "cells", "operations", "output", "stem"))
        return name, f"space.{key}={chance.choice(TOKENS)}"

    def read_space(given: tuple[str, str]) -> None:
        name, assignment = given
        plan = plan_run(registry, "snas", name, assignments=[assignment]).config
        space = registry.space(name)(**plan.space.parameters).build(1, 10, 8)
        expect(0 < space.num_edges < 10_000, "a space without edges, or too many")

    def make_schedule(chance: random.Random) -> list[str]:
        values = [chance.choice(("1.0", "0.03", "2", *TOKENS)) for _ in range(2)]
        kind = chance.choice(("linear", "geometric", "constant", *TOKENS))
        return [f"estimator.schedule={kind}"] + [
            f"estimator.tau_{end}={value}"
            for end, value in zip(("start", "end"), values, strict=True)
        ]

    def read_schedule(given: list[str]) -> None:
        plan = plan_run(registry, "snas", "snas-unit", assignments=given).config
        values = plan.estimator.parameters
        ends = [float(values["tau_start"]), float(values["tau_end"])]
        for t in (0.0, 0.5, 1.0):
            tau = anneal(values["schedule"], ends[0], ends[1], t)
            expect(math.isfinite(tau) and tau > 0, f"temperature {tau}")

    return [
        Reader("search settings", 1200, text(config), read_config),
        Reader("retraining settings", 600, text(retraining), read_retraining),
        Reader("sweep file", 400, text(sweep), read_sweep),
        Reader("study settings", 500, text(STUDY), read_study),
        Reader("overrides", 1000, make_override, read_override),
        Reader("spaces", 400, make_space, read_space),
        Reader("schedules", 300, make_schedule, read_schedule),
    ]


def _text_readers(search: Path) -> list[Reader]:
    from nasbench_snas.architecture.genotype import Genotype
    from nasbench_snas.architecture.text import parse_genotype, to_darts_text
    from nasbench_snas.architecture.zoo import zoo
    from nasbench_snas.cost.settings import CostTarget
    from nasbench_snas.runs.schema import COLUMNS
    from nasbench_snas.settings.seed_list import parse_seeds
    from nasbench_snas.settings.where import parse_where
    from nasbench_snas.truth.keys import key_to_string, read_key

    ours = (search / "genotype.json").read_text()
    bases = (ours, zoo("darts-v2").to_json(), to_darts_text(zoo("darts-v2")))

    def make_genotype(chance: random.Random) -> str:
        base = chance.choice(bases)
        json_like = base.startswith("{") and chance.random() < 0.6
        return mutated_json(chance, base) if json_like else mutated_text(chance, base)

    def read_genotype(content: str) -> None:
        found: Genotype = parse_genotype(content)
        expect(parse_genotype(found.to_json()) == found, "another cell after writing it")

    def make_seeds(chance: random.Random) -> str:
        plain = ",".join(
            chance.choice((str(chance.randrange(50)), f"{chance.randrange(9)}-{9}"))
            for _ in range(chance.randrange(1, 4))
        )
        return mutated_text(chance, plain)

    def read_seeds(content: str) -> None:
        found, wanted = parse_seeds(content), []
        for part in content.split(","):
            ends = [int(end) for end in part.strip().split("-")]
            wanted += range(ends[0], ends[-1] + 1)
        expect(found == list(dict.fromkeys(wanted)), f"{content[:40]!r} read as {found[:9]}")
        expect(all(seed < 2**63 for seed in found), "a seed that no generator takes")

    def make_where(chance: random.Random) -> str:
        return mutated_text(chance, 'space=darts-cnn and (preset="paper" or not seed >= 3)')

    def read_where(content: str) -> None:
        row = dict.fromkeys(COLUMNS) | {"space": "darts-cnn", "preset": "paper", "seed": 3}
        expect(parse_where(content, COLUMNS)(row) in (True, False), "no answer")

    def make_target(chance: random.Random) -> str:
        return mutated_text(chance, chance.choice(("params=2.8M", "macs=600M", "share=0.6")))

    def read_target(content: str) -> None:
        expect(0 < CostTarget.parse(content).value < math.inf, "a target that is not finite")

    def make_key(chance: random.Random) -> str:
        string = key_to_string("430214")
        return mutated_text(chance, chance.choice((string, "430214", "(4, 0, 3, 1, 4, 3)")))

    def read_the_key(content: str) -> None:
        key = read_key(content)
        expect(read_key(key_to_string(key)) == key, "another architecture")

    return [
        Reader("genotypes", 1300, make_genotype, read_genotype),
        Reader("seeds", 400, make_seeds, read_seeds),
        Reader("selections of runs", 300, make_where, read_where),
        Reader("cost targets", 200, make_target, read_target),
        Reader("architecture strings", 200, make_key, read_the_key),
    ]


def _file_readers(store: Path, scratch: Path) -> list[Reader]:
    from nasbench_snas.data import cache
    from nasbench_snas.kernels.cpu import build
    from nasbench_snas.registry import Registry
    from nasbench_snas.runs.checkpoint import load_checkpoint
    from nasbench_snas.truth.published import FILE, PublishedTable
    from nasbench_snas.truth.table import Table

    file = next(store.glob("snas-*-s0-*/checkpoints/last.pt"))
    checkpoint, digest = file.read_bytes(), file.parents[1].name[-8:]
    table = "architecture,seed,setting,valid_acc,test_acc\n" + "".join(
        f"{name},{seed},abc,{50 + seed},{40 - seed}\n" for name in ("01", "10") for seed in (0, 1)
    )
    npz, truth = Path(FILE).read_bytes(), PublishedTable()
    images, labels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.arange(4)
    expect(cache.write(scratch / "whole.pt", "k", images, labels), "no cache file")
    cached = (scratch / "whole.pt").read_bytes()
    plugin = Path(build.__file__).parents[3] / "estimators" / "snas.py"
    source = plugin.read_text()

    def write(name: str, content: bytes) -> Path:
        file = scratch / name
        file.write_bytes(content)
        return file

    def read_checkpoint(content: bytes) -> None:
        found = load_checkpoint(write("x.pt", content), config_hash=digest)
        whole = load_checkpoint(write("y.pt", checkpoint), config_hash=digest)
        expect(repr(found) == repr(whole), "other contents")

    def read_table(content: str) -> None:
        found = Table.read(write("t.csv", content.encode("utf-8", "surrogatepass")))
        for values in (found.valid, found.test):
            expect(bool(np.isfinite(values).all()), "an accuracy is not finite")
            expect(bool(((values >= 0) & (values <= 100)).all()), "an accuracy beyond percent")
        expect(found.choices.dim() == 2 and len(found.choices) > 0, "no architectures")

    def read_published(content: bytes) -> None:
        found = PublishedTable(write("p.npz", content))
        for name in ("correct", "seconds", "latency", "odd", "classes"):
            same = np.array_equal(getattr(found, name), getattr(truth, name))
            expect(same, f"other values of {name}")

    def read_cache(content: bytes) -> None:
        found = cache.read(write("c.pt", content), "k")
        if found is not None:
            same = torch.equal(found[0], images) and torch.equal(found[1], labels)
            expect(same, "other images")

    directory = build.cache_directory()
    build._make(directory)

    def make_kernels(chance: random.Random) -> tuple[str, bytes]:
        (directory / f"{build.NAME}.so").write_bytes(b"\x7fELF" + bytes(400))
        record = json.dumps(build._record(directory)).encode()
        name = chance.choice((f"{build.NAME}.so", "done"))
        content = record if name == "done" else b"\x7fELF" + bytes(400)
        return name, mutated_bytes(chance, content)

    def read_kernels(given: tuple[str, bytes]) -> None:
        whole = b"\x7fELF" + bytes(400)
        (directory / f"{build.NAME}.so").write_bytes(whole)
        right = build._record(directory)
        (directory / "done").write_text(json.dumps(right))
        expect(build.is_built(), "a whole binary was refused")
        (directory / given[0]).write_bytes(given[1])
        if build.is_built():
            same = (directory / f"{build.NAME}.so").read_bytes() == whole
            record = json.loads((directory / "done").read_text())
            expect(same and record == right, "a damaged binary would be loaded")
        shutil.rmtree(directory)
        build._make(directory)

    def read_plugin(content: str) -> None:
        file = write("plugin.py", content.encode("utf-8", "surrogatepass"))
        entries = Registry([str(file)]).estimators()
        expect(len(entries) > 20, "the built-in estimators are gone")

    return [
        Reader("checkpoints", 500, lambda c: mutated_bytes(c, checkpoint), read_checkpoint),
        Reader("tables of architectures", 500, lambda c: mutated_text(c, table), read_table),
        Reader("published table", 100, lambda c: mutated_bytes(c, npz), read_published),
        Reader("image cache", 300, lambda c: mutated_bytes(c, cached), read_cache),
        Reader("kernel cache", 300, make_kernels, read_kernels),
        Reader("plug-in sources", 100, lambda c: mutated_text(c, source), read_plugin),
    ]


__all__ = ["Reader", "expect", "finite", "mutated_lines", "readers"]
