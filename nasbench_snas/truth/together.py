"""Many architectures of one space trained side by side, each alone with its weights.

Small networks cost more in calls than in arithmetic. Architectures that are trained with the same
seed start from the same weights and see the same batches, so ``S`` of them run as one network of
``S`` times the channels whose convolutions are grouped: no architecture sees another, and results
are those of separate trainings to rounding. An operation runs only for the architectures that chose
it. Gradients are clipped for each architecture by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_snas.architecture.space import Space
from nasbench_snas.data.batches import Batch
from nasbench_snas.errors import DivergedError
from nasbench_snas.supernet.modules import Pool
from nasbench_snas.supernet.reference import MixedEdge, ReferenceCell, ReferenceParent


def together_possible(space: Space) -> bool:
    """Whether architectures of ``space`` can be trained side by side: one cell behind the stem."""
    return (
        [layer.kind for layer in space.layers] == ["cell"]
        and space.layers[0].stride == 1
        and space.cells[0].num_inputs == 1
        and not space.preprocess
        and space.head == "linear"
        and all(spec.kind != "module" for spec in space.operation_specs)
        and not space.unfused
    )


class TogetherNetwork(nn.Module):
    """``S`` networks side by side, with the weights of one parent at the start.

    Args:
        parent: The parent.
        choices: Operation of each edge of each architecture, shape ``(S, E)``.
    """

    def __init__(self, parent: ReferenceParent, choices: Tensor) -> None:
        super().__init__()
        self.space, self.count = parent.space, len(choices)
        self.stem = widened(parent.stem, self.count, shared=True)
        cell = cast(ReferenceCell, parent.cells["0"])
        self.operations, self.members = nn.ModuleDict(), {}
        for edge, mixed in enumerate(cell.edges):
            modules = cast(MixedEdge, mixed).operations.values()
            for k, (spec, module) in enumerate(
                zip(self.space.operation_specs, modules, strict=True)
            ):
                rows = (choices[:, edge] == k).nonzero().flatten()
                if spec.kind != "zero" and len(rows):
                    self.operations[f"{edge}/{k}"] = widened(module, len(rows))
                    self.members[f"{edge}/{k}"] = rows
        head = parent.head.linear
        self.weight = nn.Parameter(head.weight.detach().T.repeat(self.count, 1, 1))
        self.bias = nn.Parameter(head.bias.detach().repeat(self.count, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(S, B, classes)`` for images ``(B, C, H, W)``."""
        cell = self.space.cells[0]
        nodes = [self.stem(images).unflatten(1, (self.count, -1))]
        for target in range(1, cell.num_nodes + 1):
            total = torch.zeros_like(nodes[0])
            for edge, (source, end) in enumerate(cell.edges):
                if end == target:
                    self._add(edge, nodes[source], total)
            nodes.append(total)
        kept = nodes[1:] if cell.output == "concat" else nodes[-1:]
        features = torch.cat([node.mean(dim=(3, 4)) for node in kept], dim=2)
        return torch.baddbmm(self.bias[:, None], features.transpose(0, 1), self.weight)

    def _add(self, edge: int, x: Tensor, total: Tensor) -> None:
        """Add what each architecture chose on ``edge`` to ``total``, ``(B, S, C, H, W)``."""
        for k in range(self.space.num_operations):
            name = f"{edge}/{k}"
            if name in self.members:
                rows, module = self.members[name], self.operations[name]
                y = x.index_select(1, rows)
                if not isinstance(module, nn.Identity):
                    y = module(y.flatten(1, 2)).unflatten(1, (len(rows), -1))
                total.index_add_(1, rows, y)

    def rows(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Return each parameter with the architectures that its first axis is divided among."""
        everyone = torch.arange(self.count)
        return [
            (p, self.members.get(name.removeprefix("operations.").split(".")[0], everyone))
            for name, p in self.named_parameters()
        ]


def widened(module: nn.Module, count: int, *, shared: bool = False) -> nn.Module:
    """Return ``count`` copies of a parent's module side by side, as one module.

    Args:
        module: The module.
        count: Copies.
        shared: Whether all copies read the same channels.
    """
    match module:
        case nn.Conv2d():
            wide = nn.Conv2d(
                module.in_channels * (1 if shared else count),
                module.out_channels * count,
                cast(tuple[int, int], module.kernel_size),
                cast(tuple[int, int], module.stride),
                cast(tuple[int, int], module.padding),
                cast(tuple[int, int], module.dilation),
                module.groups * (1 if shared else count),
                bias=False,
            )
            wide.weight = nn.Parameter(module.weight.detach().repeat(count, 1, 1, 1))
            return wide
        case nn.BatchNorm2d():
            norm = nn.BatchNorm2d(
                module.num_features * count, module.eps, module.momentum, module.affine
            )
            state = {n: t.repeat(count) if t.dim() else t for n, t in module.state_dict().items()}
            norm.load_state_dict(state)
            return norm.to(next(iter(state.values())).dtype)
        case Pool():
            pool = Pool(module.kind, 1, module.stride, False, False)
            pool.bn = cast(nn.BatchNorm2d | nn.Identity, widened(module.bn, count))
            return pool
        case nn.Sequential():
            parts = [
                widened(part, count, shared=shared and i == 0) for i, part in enumerate(module)
            ]
            return nn.Sequential(*parts)
    return type(module)()  # ReLU and identity have no state


class TogetherTraining:
    """The theta training of ``S`` architectures.

    Args:
        network: The networks.
        optimizer: Over the networks' parameters; updates each number by itself, as SGD does.
        clip: Largest norm of each architecture's gradient; 0: unlimited.
    """

    def __init__(
        self, network: TogetherNetwork, optimizer: torch.optim.Optimizer, clip: float
    ) -> None:
        self.network, self.optimizer, self.clip = network, optimizer, clip
        self._rows = network.rows()

    def step(self, batch: Batch, rate: float) -> None:
        """Do one step of every architecture.

        Args:
            batch: Normalised images and labels.
            rate: Learning rate.

        Raises:
            DivergedError: A loss is not finite.
        """
        images, labels = batch
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        logits = self.network(images)
        targets = labels.repeat(len(logits))
        loss = functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum")
        loss = loss / len(labels)
        if not bool(loss.isfinite()):
            raise DivergedError(f"the sum of {len(logits)} training losses became {float(loss)}.")
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip > 0:
            self._clip()
        self.optimizer.step()

    @torch.no_grad()
    def _clip(self) -> None:
        squares = torch.zeros(self.network.count, dtype=self.network.bias.dtype)
        found = [(p.grad, rows) for p, rows in self._rows if p.grad is not None]
        for gradient, rows in found:
            squares.index_add_(0, rows, gradient.reshape(len(rows), -1).square().sum(dim=1))
        factor = (self.clip / (squares.sqrt() + 1e-6)).clamp_max(1)  # as clip_grad_norm_
        for gradient, rows in found:
            gradient.view(len(rows), -1).mul_(factor[rows, None])

    @torch.no_grad()
    def right(self, batches: Iterable[Batch]) -> Tensor:
        """Return how many images each architecture classifies correctly, int64, ``(S,)``."""
        self.network.eval()
        right = torch.zeros(self.network.count, dtype=torch.int64)
        for images, labels in batches:
            right += (self.network(images).argmax(dim=-1) == labels).sum(dim=1)
        return right
