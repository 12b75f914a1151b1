"""A training step of a derived network: plain modules, compiled chains, whole compiled cells.

``python benchmarks/derived.py [PAIRS]``: forward and backward pass of the derived network of
``darts-v2`` (36 channels, 20 cells, 32x32 images, batch 8, auxiliary head, drop-path 0.2), one
thread, the three alternated in one process; median processor seconds and median ratios with their
range, and how far one step of each lets the resident memory of a new process grow (Linux).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.supernet.child.kernels import child_kernels, fuse_child
from nasbench_snas.supernet.child.network import ChildCell, ChildNetwork, ChildSettings

KINDS = ("plain", "chains", "whole cells")


def network(kind: str) -> ChildNetwork:
    """Return the network, its cells run as ``kind`` says."""
    settings = ChildSettings(channels=36, layers=20, auxiliary=True, resolution=32)
    found = ChildNetwork(zoo("darts-v2"), settings, torch.Generator().manual_seed(0))
    kernels, note = child_kernels("cpu", "cpu", torch.float32)
    if kernels is None:
        raise SystemExit(note)
    if kind != "plain":
        fuse_child(found, kernels)
    if kind == "chains":
        for module in found.modules():
            if isinstance(module, ChildCell):
                module.whole = None
    return found.train()


def step(net: ChildNetwork, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Run one step; return its processor seconds."""
    started = time.process_time()
    logits, auxiliary = net(images, drop_path=0.2, generator=torch.Generator().manual_seed(2))
    loss = functional.cross_entropy(logits, labels)
    (loss + 0.4 * functional.cross_entropy(auxiliary, labels)).backward()
    seconds = time.process_time() - started
    net.zero_grad(set_to_none=True)
    return seconds


def resident_peak() -> int:
    """Return the largest resident memory since it was reset, kB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return eight images and their labels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 32, 32, generator=generator)
    return images, torch.randint(10, (8,), generator=generator)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--memory"]:
        net, data = network(sys.argv[2]), batch()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is resident
        before = resident_peak()
        step(net, *data)
        print((resident_peak() - before) / 1024)
        return
    pairs, data = int(sys.argv[1]) if sys.argv[1:] else 7, batch()
    nets = {kind: network(kind) for kind in KINDS}
    for net in nets.values():
        step(net, *data)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(pairs):
        for kind in KINDS:
            times[kind].append(step(nets[kind], *data))
    for kind in KINDS:
        ratios = [a / b for a, b in zip(times["plain"], times[kind], strict=True)]
        command = [sys.executable, __file__, "--memory", kind]
        grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(
            f"{kind}: {statistics.median(times[kind]):.3f} s, {statistics.median(ratios):.2f}x "
            f"({min(ratios):.2f} to {max(ratios):.2f}), {float(grown):.0f} MB, n = {pairs}"
        )


if __name__ == "__main__":
    main()
