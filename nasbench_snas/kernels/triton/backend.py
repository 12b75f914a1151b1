"""Backend ``triton``: the candidates of a source in grouped launches, on CUDA.

Convolutions, statistics, poolings, mix and sampling are Triton kernels (``depthwise.py``,
``norms.py``, ``mix.py``); 1x1 convolutions are batched matrix products, one for each
stage of a source, and dense ones PyTorch's. Tables of what a launch does are made once per plan and
kept with it, those of all cells copied at once; a step reads nothing back from the device and, once
it has run, copies nothing to it, so that it can be captured in a CUDA graph.
``$NASBENCH_AUTOTUNE=1`` lets Triton measure alternatives. The speed on GPUs has not been measured.

Primitives called one by one are those of plain PyTorch (they take index tensors on the device of
the activations; plans of this backend stay on the host).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasbench_snas.kernels.reference import ReferenceKernels
from nasbench_snas.kernels.sources import Slots, Source, SourceKernels
from nasbench_snas.kernels.triton import mix
from nasbench_snas.kernels.triton import source as triton_source
from nasbench_snas.kernels.triton.choices import choosable, choosing
from nasbench_snas.kernels.triton.launch import (
    Launcher,
    accumulator,
    cdiv,
    power_of_2,
    upload,
)
from nasbench_snas.kernels.triton.layout import Layout
from nasbench_snas.kernels.triton.planner import layouts_of


class TritonKernels(ReferenceKernels):
    """The Triton kernels; see :class:`~nasbench_snas.kernels.sources.SourceKernels`.

    Attributes:
        launch: Launches all kernels.
    """

    name = "triton"

    def __init__(self) -> None:
        self.launch = Launcher()
        self.sources: SourceKernels | None = self
        self._captured: list[Any] = []

    def __reduce__(self) -> tuple[type[TritonKernels], tuple[()]]:
        """Copies and pickles start anew."""
        return TritonKernels, ()

    def indices(self, values: Sequence[int], device: object) -> Tensor:
        """Return ``values`` on the host, where plans are made from them."""
        return torch.tensor(values, dtype=torch.int64)

    def source_forward(
        self, source: Source, x: Tensor, z: Tensor, mask: Tensor | None, out: Tensor, add: bool,
        update: bool,
    ) -> list[Tensor]:  # fmt: skip
        """Run all candidates; see the protocol."""
        layout = self._layout(source, x.device)
        addresses = self._addresses(source, x.device)
        self._keep((source, addresses, z, mask))
        run = triton_source.new_pass(self.launch, source, layout, addresses, x, out.shape[-1])
        triton_source.forward(run, z, _by_entry(layout, mask), out, add, update)
        return [run.y, run.stats, run.weights, run.index, addresses, *run.points]

    def source_backward(
        self, source: Source, kept: list[Tensor], x: Tensor, z: Tensor, mask: Tensor | None,
        g: Tensor, dz: Tensor, dx: Tensor, overwrite: bool, slots: Slots | None,
    ) -> None:  # fmt: skip
        """Run the candidates backwards; see the protocol."""
        layout, (y, stats, weights, index, addresses) = self._layout(source, x.device), kept[:5]
        offsets = addresses if slots is None else self._offsets(source, slots, x.device)
        self._keep((source, addresses, offsets, z, mask))
        run = triton_source.Pass(
            self.launch, source, layout, addresses, x, y, stats, weights, index, kept[5:]
        )
        triton_source.backward(
            run, z, _by_entry(layout, mask), g, dz, dx, overwrite, slots, offsets
        )

    def prepare(self, sources: Sequence[Source], device: torch.device) -> None:
        """Plan sources; all their tables go to the device in one copy that nothing waits for."""
        for source, layout in zip(sources, layouts_of(sources, device), strict=True):
            source.cache[f"layout {device}"] = layout

    def choosing(
        self, sources: Sequence[Source], device: torch.device
    ) -> Callable[[Tensor], list[Source]] | None:
        """Return what makes sources whose operations are chosen on the device; see the protocol."""
        if not all(choosable(source) for source in sources):
            return None
        layouts = choosing(sources, device)

        def chosen(choices: Tensor) -> list[Source]:
            made = []
            for source, layout in zip(sources, layouts(choices), strict=True):
                own = {f"layout {device}": layout}
                made.append(replace(source, entries=replace(source.entries, cache=own)))
            return made

        return chosen

    def _layout(self, source: Source, where: torch.device) -> Layout:
        """Return a source's tables, made when first used."""
        key = f"layout {where}"
        if key not in source.cache:
            self.prepare([source], where)
        layout: Layout = source.cache[key]
        return layout

    def _addresses(self, source: Source, where: torch.device) -> Tensor:
        """Return the addresses of the tensors of a cell's units; copied when one has moved."""
        key, values = f"addresses {where}", _addresses(source)
        known = source.shared.get(key)
        if known is None or known[0] != values:
            known = source.shared[key] = values, upload(values, where)
        table: Tensor = known[1]
        return table

    def _offsets(self, source: Source, slots: Slots, where: torch.device) -> Tensor:
        """Return where the gradients of a cell's units begin; copied when they lie elsewhere."""
        key = f"offsets {where}"
        known = source.shared.get(key)
        if known is None or known[0] is not slots.offsets:
            known = source.shared[key] = slots.offsets, upload(_offsets(source, slots), where)
        table: Tensor = known[1]
        return table

    def _keep(self, what: Any) -> None:
        """Keep what a graph that is being captured will read at every replay."""
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            self._captured.append(what)

    def concrete_forward(self, logits: Tensor, noise: Tensor, tau: float) -> Tensor:
        """Return the concrete sample, in one launch."""
        z, k = noise.new_empty(noise.shape), noise.shape[-1]
        rows, period = noise.numel() // k, logits.numel() // k
        self.launch(
            mix.concrete_forward, (cdiv(rows, 16),), logits.contiguous(),
            noise.contiguous(), z, rows, period, tau, K=k, ACC=accumulator(noise), BR=16,
            BK=power_of_2(k),
        )  # fmt: skip
        return z

    def concrete_backward(self, z: Tensor, g: Tensor, tau: float) -> Tensor:
        """Return the gradient of ``logits + noise``, in one launch."""
        d, k = z.new_empty(z.shape), z.shape[-1]
        rows = z.numel() // k
        self.launch(
            mix.concrete_backward, (cdiv(rows, 16),), z.contiguous(), g.contiguous(), d,
            rows, tau, K=k, ACC=accumulator(z), BR=16, BK=power_of_2(k),
        )  # fmt: skip
        return d


def _by_entry(layout: Layout, mask: Tensor | None) -> Tensor | None:
    """Return the factors of the entries, shape ``(Q, B)``, from those of the edges."""
    if mask is None or layout.entry_edges is None:
        return None
    return mask[layout.entry_edges].contiguous()


def _addresses(source: Source) -> list[int]:
    """Return the addresses of all units' tensors, eight for each; see ``norms.py``."""
    values: list[int] = []
    for unit in source.units:
        weights = unit.weights
        taps = weights[0] if len(weights) > 1 else None
        running = unit.running if unit.norm else (None, None, None)
        tensors = (taps, weights[-1] if weights else None, unit.gamma, unit.beta, *running)
        values += [0 if t is None else t.data_ptr() for t in tensors]
        values.append(0)
    return values


def _offsets(source: Source, slots: Slots) -> list[int]:
    """Return where the gradients of taps, 1x1 weights, gamma and beta of all units begin."""
    values: list[int] = []
    for unit in source.units:
        weights = unit.weights
        taps = weights[0] if len(weights) > 1 else None
        tensors = (taps, weights[-1] if weights else None, unit.gamma, unit.beta)
        values += [0 if t is None else slots.offsets[id(t)] for t in tensors]
    return values
