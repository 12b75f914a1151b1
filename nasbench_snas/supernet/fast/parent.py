"""The fast parent network: equal to the reference parent, several times faster.

It computes eq. (2) of SNAS (arXiv:1812.09926), ``x_j = sum_{i<j} Z_ij^T O_ij(x_i)``, for ``S``
draws of ``Z`` in one pass, source node by source node on fused kernels (``nasbench_snas/kernels``):
no normalised tensor and no output of a single edge is ever stored, operations of weight zero are
skipped exactly, and what does not depend on the draw is computed once for all draws. Every draw has
its own batch-norm statistics, and running statistics change as if the draws had been passed one
after another.

Deviations from :class:`~nasbench_snas.supernet.reference.ReferenceParent`: parameters are packed
(see ``packing.py``), so an operation that was skipped has a zero gradient where the reference has
none; gradients of gradients are not offered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.kernels.cpu.backend import CpuKernels
from nasbench_snas.kernels.operands import EPS, MOMENTUM
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.supernet.fast.chosen import ChosenPlans, choosable, chosen_plans
from nasbench_snas.supernet.fast.compiled import CellUse, CompiledCell, CompiledFunction
from nasbench_snas.supernet.fast.forward import CellRun, source_of
from nasbench_snas.supernet.fast.function import CellFunction
from nasbench_snas.supernet.fast.norm import NormFunction
from nasbench_snas.supernet.fast.packing import Packing, pack_all, unpack_all
from nasbench_snas.supernet.fast.plan import CellPlan, plan_cell
from nasbench_snas.supernet.fast.units import FastCell
from nasbench_snas.supernet.modules import ResidualReduction
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.supernet.skeleton import positions

PLANS_KEPT = 8
"""Plans kept for reuse, for each cell: soft weights always need the same ones (in training and in
evaluation), and those of one-hot weights seldom come again."""


class FastParent(nn.Module):
    """Parent network of ``space`` on fused kernels.

    Args:
        space: The declaration.
        generator: Source of the initial weights; they are those of the reference parent.
        kernels: The backend.
        recompute: Whether cells keep only their inputs and are run again in the backward pass.
        storage: Type in which activations are stored inside and between cells (bfloat16 or
            float16); weights, statistics and sums keep the parent's own. None: all are of one type.

    Attributes:
        packing: Where the reference parent's tensors lie.
    """

    def __init__(
        self,
        space: Space,
        generator: torch.Generator,
        *,
        kernels: Kernels,
        recompute: bool = False,
        storage: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if space.unfused:
            raise ConfigError(
                f"space {space.name!r} has no fused parent: the reference parent runs, "
                f"{space.unfused}."
            )
        if storage is not None and kernels.sources is None:
            raise ConfigError(
                f"kernels {kernels.name!r} cannot store activations in {storage}.",
                "Only Triton's kernels do, on CUDA.",
            )
        self.storage = storage
        reference = ReferenceParent(space, generator)
        self.space, self.kernels, self.recompute = space, kernels, recompute
        self.stem, self.blocks, self.head = reference.stem, reference.blocks, reference.head
        self.cells = nn.ModuleDict(
            {
                str(p.index): FastCell(space, p, reference.cell(p.index).edges)
                for p in positions(space)
            }
        )
        self._plans: OrderedDict[tuple[object, ...], CellPlan] = OrderedDict()
        self._chosen: dict[tuple[object, ...], ChosenPlans] = {}
        self._compiled: dict[int, CompiledCell] = {}
        self.packing: Packing = {}
        for index, cell in self.cells.items():
            if isinstance(cell, FastCell):
                self.packing |= cell.packing(f"cells.{index}.")
                if isinstance(kernels, CpuKernels) and CompiledCell.takes(cell):
                    self._compiled[cell.position.index] = CompiledCell(cell, kernels)
        self.load_state_dict(self.from_canonical(reference.state_dict()))

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles plan for themselves."""
        return {**self.__dict__, "_plans": OrderedDict(), "_chosen": {}}

    @property
    def has_own_modules(self) -> bool:
        """Whether an operation of one's own runs as a module, of which nothing is known."""
        return any(operation.kind == "module" for operation in self.space.operation_specs)

    @property
    def is_compiled(self) -> bool:
        """Whether every cell runs in compiled code as a whole."""
        return len(self._compiled) == len(self.cells)

    def canonical(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return this parent's parameters, buffers or momenta by their canonical names."""
        return unpack_all(self.packing, tensors)

    def from_canonical(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return canonical ``tensors`` by own names; the inverse of :meth:`canonical`."""
        own = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return pack_all(self.packing, {name: t.shape for name, t in own.items()}, tensors)

    def forward(
        self,
        images: Tensor,
        z: Tensor,
        *,
        all_operations: bool | Tensor = False,
        edge_mask: Tensor | None = None,
        single_path: bool = False,
    ) -> Tensor:
        """Return the logits of ``S`` weighted architectures on one batch.

        Autocast has no effect: activations are of the type of the weights, or of ``storage``.

        Args:
            images: Normalised images, shape ``(B, in_channels, resolution, resolution)``.
            z: Weights of the operations, shape ``(S, E, K)``; any real values.
            all_operations: Run operations of weight zero as well; see the reference parent. A mask
                on the host while ``z`` is on a device says which operations have other weights,
                too, so that nothing is read back.
            edge_mask: Factors of every edge's output, shape ``(cells, edges, B)``, or None.
            single_path: Every edge of a draw has at most one weight that is not zero. Kernels that
                can then choose operations on the device, without a new plan (see
                :attr:`chooses`); logits are NaN if it is not so.

        Returns:
            Logits, shape ``(S, B, classes)``.

        Raises:
            ConfigError: Weights of another space, or training on a single value a channel, of
                which there is no variance.
        """
        wanted = (self.space.num_edges, self.space.num_operations)
        if z.dim() != 3 or tuple(z.shape[1:]) != wanted:
            raise ConfigError(
                f"weights of shape {tuple(z.shape)} do not fit space {self.space.name!r}.",
                f"Expected (draws, {wanted[0]}, {wanted[1]}): draws, edges, operations.",
            )
        kind = images.device.type
        with torch.autocast(kind if kind in ("cpu", "cuda") else "cpu", enabled=False):
            if single_path and self.chooses:
                return self._chosen_logits(images, z, edge_mask)
            return self._logits(images, z, all_operations, edge_mask)

    @property
    def chooses(self) -> bool:
        """Whether one operation an edge is chosen on the device: every draw launches the same."""
        cells = [_fast(cell) for cell in self.cells.values()]
        return self.kernels.sources is not None and choosable(self.space, cells)

    def _chosen_logits(self, images: Tensor, z: Tensor, edge_mask: Tensor | None) -> Tensor:
        """Return the logits of draws that have at most one operation on an edge."""
        plans = self._choices(z)
        cells, several = plans.cells(z.detach())
        logits = self._through(images, z, None, edge_mask, cells)
        return logits.masked_fill(several, torch.nan)

    def _choices(self, z: Tensor) -> ChosenPlans:
        """Return the plans of draws that have at most one operation on an edge; made once."""
        like = z.detach().to(self.head.linear.weight.dtype)
        key = (z.shape[0], self.training, like.device, like.dtype)
        if key not in self._chosen:
            cells = {int(index): _fast(cell) for index, cell in self.cells.items()}
            self._chosen[key] = chosen_plans(self.space, cells, self.kernels, self.training, like)
        return self._chosen[key]

    def _logits(
        self, images: Tensor, z: Tensor, all_operations: bool | Tensor, edge_mask: Tensor | None
    ) -> Tensor:
        if isinstance(all_operations, Tensor):
            known = all_operations.device.type == "cpu" != z.device.type
            used = all_operations if known else (all_operations | (z.detach() != 0)).cpu()
        elif all_operations:
            used = torch.ones(z.shape, dtype=torch.bool)
        else:
            used = (z.detach() != 0).cpu()
        self._prepare(z, used)
        return self._through(images, z, used, edge_mask, None)

    def _through(
        self,
        images: Tensor,
        z: Tensor,
        used: Tensor | None,
        edge_mask: Tensor | None,
        plans: Mapping[int, CellPlan] | None,
    ) -> Tensor:
        """Return the logits of the operations that ``used`` or ``plans`` of the cells name."""
        draws = z.shape[0]
        x = self._stem(images, draws)
        x = x if self.storage is None else x.to(self.storage)
        history, seen = [x, x], 0
        for index, layer in enumerate(self.space.layers):
            if layer.kind == "cell":
                cell, rows = self.cells[str(index)], self.space.rows[layer.cell]
                inputs = history[-self.space.cell(layer.cell).num_inputs :]
                mask = None
                if edge_mask is not None:
                    mask = edge_mask[seen, : rows.stop - rows.start].to(x.dtype)
                if plans is not None:
                    flat = z[:, rows].to(self.head.linear.weight.dtype).reshape(-1)
                    x = self._planned(_fast(cell), inputs, flat, draws, plans[index], mask)
                elif used is not None:
                    x = self._cell(cell, inputs, z[:, rows], used[:, rows], mask)
                seen += 1
            else:
                wide = x.to(self.head.linear.weight.dtype)
                x = self._residual(self.blocks[str(index)], wide, draws).to(x.dtype)
            history = [history[-1], x]
        return self._head(x.to(self.head.linear.weight.dtype), draws)

    def _cell(
        self,
        cell: nn.Module,
        inputs: list[Tensor],
        z: Tensor,
        used: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        if not isinstance(cell, FastCell):
            raise TypeError("cells are FastCells")
        size = cell.position.output_resolution
        if self.training and inputs[0].shape[1] * size * size == 1:
            raise ConfigError(
                "batch norm has a single value a channel to take statistics of.",
                f"The batch has one image, and cell {cell.position.index} one pixel.",
                "Use a larger batch, or fewer cells.",
            )
        flat = z.to(self.head.linear.weight.dtype).reshape(-1)
        compiled = self._compiled.get(cell.position.index)
        if compiled is not None:
            use = CellUse(
                compiled, used.contiguous(), None if mask is None else mask.contiguous(),
                self.training, self.recompute, compiled.buffers(),
            )  # fmt: skip
            fused: Tensor = CompiledFunction.apply(use, len(inputs), flat, *inputs, *cell.tensors())
            return fused
        return self._interpreted(cell, inputs, flat, used, mask)

    def _prepare(self, z: Tensor, used: Tensor) -> None:
        """Plan all cells of a pass before it runs, so that their tables go to the device at once.

        Only for backends that run sources as a whole; others plan when a cell is reached.
        """
        sources, draws = self.kernels.sources, used.shape[0]
        if sources is None:
            return
        rows, fresh = [1, 1], []
        for index, layer in enumerate(self.space.layers):
            own = rows[-1]
            if layer.kind == "cell":
                cell = _fast(self.cells[str(index)])
                shared = tuple(r == 1 for r in rows[-cell.position.cell.num_inputs :])
                like = z.detach().to(self.head.linear.weight.dtype)
                plan, new = self._plan(cell, shared, like, used[:, self.space.rows[layer.cell]])
                if new:
                    parts = [part for part in (*plan.inputs, *plan.sources) if part is not None]
                    fresh += [source_of(cell, self.training, part) for part in parts]
                own = draws
            rows = [rows[-1], own]
        if fresh:
            sources.prepare(fresh, z.device)

    def _plan(
        self, cell: FastCell, shared: tuple[bool, ...], like: Tensor, used: Tensor
    ) -> tuple[CellPlan, bool]:
        """Return the plan of a cell, and whether it has just been made."""
        pattern = bytes(used.flatten().tolist())
        index = cell.position.index
        key = (index, shared, self.training, used.shape, pattern, like.device, like.dtype)
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan, False
        wanted = [[[k for k, on in enumerate(row) if on] for row in draw] for draw in used.tolist()]
        plan = plan_cell(cell, shared, wanted, self.training, self.kernels, like)
        self._plans[key] = plan
        while len(self._plans) > PLANS_KEPT * len(self.cells):
            self._plans.popitem(last=False)
        return plan, True

    def _interpreted(
        self, cell: FastCell, inputs: list[Tensor], z: Tensor, used: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Run a cell kernel by kernel; ``z`` is flat."""
        shared = tuple(x.shape[0] == 1 for x in inputs)
        plan, _ = self._plan(cell, shared, z.detach(), used)
        return self._planned(cell, inputs, z, used.shape[0], plan, mask)

    def _planned(
        self, cell: FastCell, inputs: list[Tensor], z: Tensor, draws: int, plan: CellPlan,
        mask: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Run a cell by its plan; ``z`` is flat."""
        run = CellRun(
            cell, self.kernels, plan, draws, self.training, mask, self.recompute,
            torch.is_grad_enabled(),
        )  # fmt: skip
        result: Tensor = CellFunction.apply(run, len(inputs), z, *inputs, *cell.tensors())
        return result

    def _stem(self, images: Tensor, draws: int) -> Tensor:
        """Return the stem's output, shape ``(1, B, H, W, C)``: it is the same for all draws."""
        conv, norm = self.stem[0], self.stem[1]
        y = _convolution(conv, images.contiguous(memory_format=torch.channels_last))
        return self._norm(norm, y.permute(0, 2, 3, 1).unsqueeze(0), draws)

    def _residual(self, block: nn.Module, x: Tensor, draws: int) -> Tensor:
        if not isinstance(block, ResidualReduction):
            raise TypeError("blocks are ResidualReductions")
        y = x
        for unit in (block.conv_a, block.conv_b):
            y = self._convolve(unit[1], functional.relu(y))
            y = self._norm(unit[2], y, draws)
        short = x.flatten(0, 1).permute(0, 3, 1, 2)
        short = functional.avg_pool2d(short, block.stride, block.stride, ceil_mode=True)
        short = _rows(short, x)
        return y + self._convolve(block.shortcut, short)

    @staticmethod
    def _convolve(conv: nn.Module, x: Tensor) -> Tensor:
        """Return ``conv`` of ``x``, shape ``(G, B, H, W, C)``."""
        y = _convolution(conv, x.flatten(0, 1).permute(0, 3, 1, 2))
        return _rows(y, x)

    def _norm(self, norm: nn.Module, y: Tensor, draws: int) -> Tensor:
        """Return the batch norm of each row of ``y``; running statistics see every draw."""
        if not isinstance(norm, nn.BatchNorm2d):
            raise TypeError("norms are BatchNorm2d")
        running = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        mean, var, count = running
        if mean is None or var is None or count is None:
            raise TypeError("norms track running statistics")
        if not self.training:
            scale = (var[None] + EPS).rsqrt() * norm.weight
            shift = norm.bias - mean[None] * scale
            return torch.addcmul(shift[:, None, None, None], y, scale[:, None, None, None])
        if isinstance(self.kernels, CpuKernels):
            out, batch_mean, batch_var = NormFunction.apply(self.kernels, y, norm.weight, norm.bias)
        else:
            batch_var, batch_mean = torch.var_mean(y, dim=(1, 2, 3), correction=0)
            scale = (batch_var + EPS).rsqrt() * norm.weight
            shift = norm.bias - batch_mean * scale
            out = torch.addcmul(shift[:, None, None, None], y, scale[:, None, None, None])
        values = y[0].numel() // y.shape[-1]
        with torch.no_grad():
            for draw in range(draws):
                row = draw if y.shape[0] > 1 else 0
                mean.lerp_(batch_mean[row], MOMENTUM)
                var.lerp_(batch_var[row] * (values / (values - 1)), MOMENTUM)
            count += draws
        result: Tensor = out
        return result

    def _head(self, x: Tensor, draws: int) -> Tensor:
        if isinstance(self.head.norm, nn.Sequential):
            x = functional.relu(self._norm(self.head.norm[0], x, draws))
        result: Tensor = self.head.linear(x.mean(dim=(2, 3)))
        return result if result.shape[0] == draws else result.expand(draws, -1, -1)


def _fast(cell: nn.Module) -> FastCell:
    if not isinstance(cell, FastCell):
        raise TypeError("cells are FastCells")
    return cell


def _convolution(conv: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = conv(x)
    return result


def _rows(y: Tensor, like: Tensor) -> Tensor:
    """Return images ``(G * B, C, H, W)`` as rows ``(G, B, H, W, C)``."""
    return y.permute(0, 2, 3, 1).reshape(*like.shape[:2], *y.shape[2:], y.shape[1])
