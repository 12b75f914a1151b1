"""The objective of second-order DARTS: a loss at weights that have made a step themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.search.objective import SupernetLoss, losses_and_errors
from nasbench_snas.settings.run import SearchSettings


class UnrolledLoss:
    """``L_val(theta - xi grad_theta L_train(theta, z), z)``: the objective of second-order DARTS.

    Each architecture has its own unrolled weights. The inner gradient has neither momentum nor
    weight decay (the released code adds both; eq. 7 of the DARTS paper has neither). Running
    statistics of batch norms are not updated. No copy of the network is built: weights are passed
    functionally.

    Args:
        parent: The network.
        outer: Loss of the architecture batch.
        inner: Loss of the training batch.
        rate: ``xi``, the inner learning rate.
        hessian: ``exact``, or the finite difference of eq. 8 with step ``difference / |v|``.
        difference: Length of the finite difference; DARTS' 0.01 is coarse where ReLUs switch.
        share: Averages a value over processes, differentiably.
    """

    def __init__(
        self,
        parent: nn.Module,
        outer: SupernetLoss,
        inner: SupernetLoss,
        rate: float,
        hessian: Literal["exact", "finite-difference"] = "exact",
        difference: float = 0.01,
        share: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self._difference, self._share = difference, share
        self._parent, self._outer, self._inner = parent, outer, inner
        self._rate, self._hessian = rate, hessian
        self._error: Tensor | None = None
        self._run: Tensor | None = None  # of the architecture that is evaluated now

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the unrolled losses of ``z``, shape ``(R, n)``; see ``api.Loss``."""
        one = self._exact if self._hessian == "exact" else self._finite_difference
        flat = z.flatten(0, 1)
        masks = None if run is None else run.flatten(0, 1)
        with torch.enable_grad():  # the inner gradient is needed without an outer graph, too
            results = []
            for s in range(flat.shape[0]):
                self._run = None if masks is None else masks[s : s + 1]
                results.append(one(flat[s : s + 1]))
        self._error = torch.stack([error for _, error in results]).view(z.shape[:2])
        losses = torch.stack([loss for loss, _ in results]).view(z.shape[:2])
        return losses if torch.is_grad_enabled() else losses.detach()

    def error(self, z: Tensor) -> Tensor:
        """Return the errors of the last evaluation, shape ``(R, n)``."""
        if self._error is None or self._error.shape != z.shape[:2]:
            with torch.enable_grad():
                self(z.detach())
        if self._error is None:
            raise RuntimeError("no evaluation was recorded")
        return self._error

    def _exact(self, z: Tensor) -> tuple[Tensor, Tensor]:
        theta = dict(self._parent.named_parameters())
        train, _ = self._evaluate(self._inner, theta, z)
        keep = z.requires_grad
        gradient = torch.autograd.grad(
            train, list(theta.values()), create_graph=keep, allow_unused=True
        )
        moved = _moved(theta, self._shared(gradient), -self._rate)
        return self._evaluate(self._outer, moved, z)

    def _finite_difference(self, z: Tensor) -> tuple[Tensor, Tensor]:
        theta = {name: p.detach() for name, p in self._parent.named_parameters()}
        fixed = z.detach()
        inner = self._gradient(self._inner, theta, fixed)
        unrolled = {n: p.requires_grad_() for n, p in _moved(theta, inner, -self._rate).items()}
        leaf = fixed.clone().requires_grad_()
        value, error = self._evaluate(self._outer, unrolled, leaf)
        direct, *own = torch.autograd.grad(value, [leaf, *unrolled.values()], allow_unused=True)
        vector = self._shared(own)
        norm = torch.stack([(v**2).sum() for v in vector if v is not None]).sum().sqrt()
        step = self._difference / float(norm)
        slopes = []
        for sign in (1.0, -1.0):
            near = _moved(theta, vector, sign * step)
            leaf = fixed.clone().requires_grad_()
            loss, _ = self._evaluate(self._inner, near, leaf)
            slopes.append(torch.autograd.grad(loss, leaf)[0])
        total = direct - self._rate * (slopes[0] - slopes[1]) / (2 * step)
        return value.detach() + ((z - fixed) * total).sum(), error

    def _gradient(
        self, loss: SupernetLoss, theta: Mapping[str, Tensor], z: Tensor
    ) -> list[Tensor | None]:
        leaves = {name: p.clone().requires_grad_() for name, p in theta.items()}
        value, _ = self._evaluate(loss, leaves, z)
        own = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        return self._shared(own)

    def _shared(self, gradients: Iterable[Tensor | None]) -> list[Tensor | None]:
        return [None if g is None else self._share(g) for g in gradients]

    def _evaluate(
        self, loss: SupernetLoss, theta: Mapping[str, Tensor], z: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return loss and error (scalars) at weights ``theta``; ``z`` has shape ``(1, E, K)``."""
        buffers = {name: b.clone() for name, b in self._parent.named_buffers()}
        everything = loss.all_operations if self._run is None else self._run
        logits = functional_call(
            self._parent,
            (dict(theta), buffers),
            (loss.images, z),
            {"all_operations": everything, "edge_mask": loss.edge_mask},
        )
        losses, errors = losses_and_errors(logits, loss.labels)
        return self._share(losses[0]), self._share(errors[0])


def _moved(
    theta: Mapping[str, Tensor], direction: Iterable[Tensor | None], factor: float
) -> dict[str, Tensor]:
    """Return ``theta + factor * direction``; a missing direction is zero."""
    pairs = zip(theta.items(), direction, strict=True)
    return {name: p if d is None else p + factor * d for (name, p), d in pairs}


def refuse_noisy_differences(space: Space, settings: SearchSettings) -> None:
    """Refuse differences of losses where an operation draws new random numbers at every pass.

    Raises:
        ConfigError: The level takes such differences in such a space.
    """
    noisy = [spec.name for spec in space.operation_specs if spec.kind == "noise"]
    if noisy and settings.level == "unrolled" and settings.unrolled_hessian != "exact":
        raise ConfigError(
            f"unrolled_hessian = 'finite-difference' is not possible with {noisy[0]!r}.",
            "The two losses of a difference would have different noise.",
            "Use --set search.unrolled_hessian=exact.",
        )
