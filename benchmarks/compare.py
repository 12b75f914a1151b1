"""Two commits side by side: the rows of the record in docs/performance.md, in alternated processes.

``python benchmarks/compare.py OLD NEW [ROW ...] [--pairs 7] [--threads 1]``; OLD and NEW are the
Python interpreters of two environments, each with one commit installed (a checkout with ``pip
install -e .``, say). Every pair runs a row once under each, in processes of their own, the order
turned from pair to pair, so that whatever else the machine does meets both. Time is processor time
of the row alone (of a command: the whole process and its children), wall-clock time for the rows of
two threads; bytes are the growth of the resident set. Printed for each row: medians of both, the
median of the ratios of the pairs with the least and the greatest, and n.

Compiled kernels are built first, each commit's in the cache of ``NASBENCH_CACHE``. The stores of
runs that reports read are made by copying one run of OLD under other seeds and accuracies.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

STEPS = {"big": 2, "mid": 3}
"""Steps timed in one process (of other sizes ten), after one that is not timed."""


def first(*names: str) -> Any:
    """Return the first of some modules that this commit has."""
    for name in names[:-1]:
        with suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    return importlib.import_module(names[-1])


def clock() -> float:
    """Return processor time, or wall-clock time where several threads compute."""
    import torch

    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(step: Callable[[], object], count: int) -> dict[str, float]:
    """Return the median seconds of a step after a first one, and how far memory grew."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
    seconds = []
    for _ in range(count):
        start = clock()
        step()
        seconds.append(clock() - start)
    return {"seconds": statistics.median(seconds), "bytes": grown}


def child() -> dict[str, float]:
    """A training step of a derived network: C36, 20 cells, batch 8, auxiliary head, drop-path."""
    import torch
    from torch.nn import functional

    zoo = first("nasbench_snas.architecture.zoo", "nasbench_snas.genotype_zoo").zoo
    kernels = first("nasbench_snas.supernet.child_kernels", "nasbench_snas.supernet.child.kernels")
    networks = first("nasbench_snas.supernet.child.network", "nasbench_snas.supernet.child")
    generator = torch.Generator().manual_seed(0)
    settings = networks.ChildSettings(auxiliary=True)
    network = networks.ChildNetwork(zoo("darts-v2"), settings, generator).train()
    kernels.fuse_child(network, kernels.child_kernels("cpu", "cpu", torch.float32)[0])
    images = torch.randn(8, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (8,), generator=generator)

    def step() -> None:
        network.zero_grad()
        out = network(images, drop_path=0.2, generator=generator)
        loss = functional.cross_entropy(out.logits, labels)
        (loss + 0.4 * functional.cross_entropy(out.auxiliary, labels)).backward()

    return timed(step, 4)


def parent(size: str, one_hot: bool) -> dict[str, float]:
    """A forward and backward pass of the fast parent."""
    import torch
    from torch.nn import functional

    from nasbench_snas.kernels import select_backend
    from nasbench_snas.spaces.darts_cnn import DartsCNN

    sizes = {"smoke": (32, 8, 4, 3), "small": (32, 16, 8, 5), "mid": (16, 32, 16, 8)}
    count, pixels, channels, cells = {**sizes, "big": (64, 32, 16, 8)}[size]
    fast = first("nasbench_snas.supernet.fast.parent", "nasbench_snas.supernet.fast")
    generator = torch.Generator().manual_seed(0)
    space = DartsCNN(cells=cells, channels=channels).build(3, 10, pixels)
    network = fast.FastParent(space, generator, kernels=select_backend("cpu", wait=True)[0])
    noise = torch.randn(1, space.num_edges, space.num_operations, generator=generator)
    z = noise.softmax(-1)
    if one_hot:
        z = functional.one_hot(noise.argmax(-1), space.num_operations).float()
    z.requires_grad_()
    images = torch.randn(count, 3, pixels, pixels, generator=generator)
    labels = torch.randint(10, (count,), generator=generator)

    def step() -> None:
        functional.cross_entropy(network(images, z)[0], labels).backward()

    return timed(step, STEPS.get(size, 10))


def exact() -> dict[str, float]:
    """Losses of all architectures and their gradient, `snas-unit`, 4 channels, 8x8 pixels."""
    import torch

    from nasbench_snas.spaces.snas_unit import SnasUnit
    from nasbench_snas.supernet.reference import ReferenceParent

    laws = first("nasbench_snas.architecture.distributions", "nasbench_snas.distributions")
    exact = first("nasbench_snas.oracle.exact", "nasbench_snas.gradients.oracle")
    network = first("nasbench_snas.oracle.network", "nasbench_snas.gradients.network")
    generator = torch.Generator().manual_seed(0)
    space = SnasUnit(channels=4).build(3, 10, 8)
    images = torch.randn(16, 3, 8, 8, generator=generator)
    labels = torch.randint(10, (16,), generator=generator)
    net = ReferenceParent(space, generator)
    oracle = exact.Oracle(network.BatchedNetwork(net), images, labels)
    dist = laws.Categorical(torch.zeros(space.num_edges, space.num_operations))
    return timed(lambda: oracle.gradient(dist), 3)


def build() -> dict[str, float]:
    """Compile the kernels into an empty cache; bytes of the largest compiler process."""
    with tempfile.TemporaryDirectory() as cache:
        script = "build.build_cpu_kernels()"
        names = "nasbench_snas.kernels.cpu.build", "nasbench_snas.kernels.build"
        code = f"import importlib; build = importlib.import_module({first(*names).__name__!r})"
        environment = {**os.environ, "NASBENCH_CACHE": cache}
        return command([sys.executable, "-c", f"{code}; {script}"], environment)


def command(words: list[str], environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run a command; return processor time and peak memory of it and its children."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": used.ru_utime + used.ru_stime, "bytes": 1024 * used.ru_maxrss}


def nasbench(*words: str) -> list[str]:
    """Return a command line of the suite in this interpreter."""
    return [sys.executable, "-m", "nasbench_snas", "-q", *words]


def run() -> dict[str, float]:
    """`nasbench run -e snas -s darts-cnn` (preset smoke), kernels built."""
    with tempfile.TemporaryDirectory() as root:
        return command(nasbench("--root", root, "run", "-e", "snas", "-s", "darts-cnn"))


def gradients() -> dict[str, float]:
    """A gradient study: four estimators, `snas-unit`, 64 draws, the exact reference."""
    chosen = [word for name in ("snas", "reinforce", "reinmax", "gdas") for word in ("-e", name)]
    with tempfile.TemporaryDirectory() as root:
        where = ["--root", root, "gradients", "-s", "snas-unit", *chosen, "--points", "init"]
        return command(nasbench(*where, "--samples", "64", "--until-se", "0.0001", "--no-figures"))


def report() -> dict[str, float]:
    """`nasbench report` with its default output on the store named by ``COMPARE_STORE``."""
    with tempfile.TemporaryDirectory() as out:
        return command(nasbench("--root", os.environ["COMPARE_STORE"], "report", "--out", out))


ROWS: dict[str, Callable[[], dict[str, float]]] = {
    "child": child,
    **{
        f"{size}-{'one-hot' if one_hot else 'soft'}": lambda s=size, o=one_hot: parent(s, o)
        for size in ("smoke", "small", "mid", "big")
        for one_hot in (False, True)
    },  # type: ignore[misc]
    "exact": exact,
    "gradients": gradients,
    "run": run,
    "report-10": report,
    "report-1000": report,
    "report-10000": report,
    "build": build,
}


def make_store(python: str, folder: Path, count: int) -> Path:
    """Return a store of ``count`` finished searches: copies of two, by seed and accuracy."""
    import random

    if folder.exists():
        return folder
    for name in ("snas", "darts"):
        words = ["run", "-e", name, "-s", "darts-cnn", "--max-epochs", "2"]
        words += ["--set", "search.epochs=2"]
        where = [python, "-m", "nasbench_snas", "-q", "--root", str(folder / "made"), *words]
        subprocess.run(where, check=True, stdout=subprocess.DEVNULL)
    rng = random.Random(0)
    made = sorted(path for path in (folder / "made").iterdir() if (path / "result.json").exists())
    for number in range(count):
        source = made[number % len(made)]
        seed = number // len(made)
        target = folder / source.name.replace("-s0-", f"-s{seed}-")
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("checkpoint*", "*.npz"))
        for path in target.glob("*.json*"):
            path.write_text(path.read_text().replace(source.name, target.name))
        config = target / "config.toml"
        config.write_text(config.read_text().replace("\nseed = 0", f"\nseed = {seed}"))
        result = target / "result.json"
        found = json.loads(result.read_text())
        for key, value in found.items():
            if "_valid_acc" in key and isinstance(value, float):
                found[key] = value + rng.gauss(0.0, 1.0)
            if key == "seed":
                found[key] = seed
        result.write_text(json.dumps(found))
    shutil.rmtree(folder / "made")
    return folder


def measured(python: str, row: str, threads: int, stores: Path) -> dict[str, float]:
    """Return what one process measured."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONDONTWRITEBYTECODE": "",
        "COMPARE_STORE": str(stores / row),
    }
    words = [python, str(Path(__file__).resolve()), "--measure", row]
    done = subprocess.run(words, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(old: str, new: str, row: str, pairs: int, threads: int, stores: Path) -> str:
    """Return the line of a row."""
    if row.startswith("report-"):
        make_store(old, stores / row, int(row.split("-")[1]))
    results: dict[str, list[dict[str, float]]] = {old: [], new: []}
    for number in range(pairs):
        for python in (old, new) if number % 2 == 0 else (new, old):
            results[python].append(measured(python, row, threads, stores))
    ratios = sorted(
        a["seconds"] / b["seconds"] for a, b in zip(results[old], results[new], strict=True)
    )
    before, after = (
        {key: statistics.median(r[key] for r in results[python]) for key in ("seconds", "bytes")}
        for python in (old, new)
    )
    return (
        f"| {row} | {before['seconds']:.3g} s | {after['seconds']:.3g} s | "
        f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f}) | "
        f"{before['bytes'] / 1e6:.0f} MB | {after['bytes'] / 1e6:.0f} MB | {pairs} |"
    )


def main() -> None:
    """Measure one row in this process, or compare two interpreters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stores", type=Path, help="where stores of runs are kept between calls")
    given = parser.parse_args()
    print("| row | old | new | old / new (least to greatest) | memory old | new | n |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        stores = given.stores or Path(temporary)
        for row in given.rows or ROWS:
            made = compare(given.old, given.new, row, given.pairs, given.threads, stores)
            print(made, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(ROWS[sys.argv[2]]()))
    else:
        main()
