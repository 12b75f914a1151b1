"""Child validation without retraining: the views times two kinds of batch-norm statistics.

The paper's Table 1 compares the search accuracy with the accuracy of the derived child that
inherits the parent's weights. Which views these are is the estimator's declared rule; the whole
matrix is measured for every run, with the parent's running statistics (``inherited``) and with
statistics recomputed on training images for the very architecture (``recalibrated``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_snas.api import Distribution, Estimator
from nasbench_snas.architecture.space import Space
from nasbench_snas.compute.deadline import Deadline
from nasbench_snas.compute.modes import own_modes
from nasbench_snas.errors import DivergedError
from nasbench_snas.search.views import SAMPLED, VIEWS, ViewName, view_weights
from nasbench_snas.supernet.skeleton import BATCH_NORM_MOMENTUM

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class ChildAccuracy:
    """Accuracy of one cell of the matrix.

    Attributes:
        view: How the weights were chosen.
        statistics: ``inherited`` or ``recalibrated`` batch-norm statistics.
        accuracy: Mean over the sampled architectures, in percent.
        std: Standard deviation over them (ddof 1), 0 for a single architecture.
        samples: Number of architectures.
    """

    view: str
    statistics: str
    accuracy: float
    std: float
    samples: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@own_modes()
@torch.no_grad()
def accuracy(parent: nn.Module, z: Tensor, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the accuracy of each architecture in percent, shape ``(S,)``, in evaluation mode.

    Args:
        parent: The network.
        z: Weights, shape ``(S, E, K)``.
        batches: Normalised images and labels.

    Raises:
        DivergedError: Logits are NaN or infinite.
    """
    was_training = parent.training
    parent.eval()
    z = z.to(next(parent.parameters()).device)  # the distribution may be on the host
    right, seen = torch.zeros(z.shape[0], dtype=torch.float64, device=z.device), 0
    finite = torch.ones((), dtype=torch.bool, device=z.device)
    for images, labels in batches:
        logits = parent(images, z)
        finite &= logits.isfinite().all()
        predicted = logits.argmax(dim=-1)
        right += (predicted == labels).sum(dim=1)
        seen += labels.numel()
    parent.train(was_training)
    if not bool(finite):
        raise DivergedError(
            "logits of a derived child are NaN or infinite.",
            "Such a network has no accuracy.",
            "Train again with a lower search.theta.lr.",
        )
    return 100.0 * right.cpu() / seen


def accuracies(
    parent: nn.Module,
    z: Tensor,
    batches: Batches,
    deadline: Deadline | None = None,
    per_pass: int = 8,
) -> Tensor:
    """Return :func:`accuracy` of many architectures, ``per_pass`` in one pass over the batches.

    Where the time is up, those of the first pass are measured on one batch at least, and those that
    are left have the accuracy minus infinity.

    Args:
        parent: The network.
        z: Weights, shape ``(N, E, K)``.
        batches: Yields the batches anew at each call.
        deadline: When it has to end; None: never.
        per_pass: Architectures of one pass.

    Raises:
        DivergedError: Logits are NaN or infinite.
    """
    limit = deadline or Deadline()
    found = torch.full((len(z),), -torch.inf, dtype=torch.float64)
    for first in range(0, len(z), per_pass):
        if first and limit.leaves_out():
            break
        part = slice(first, first + per_pass)
        found[part] = accuracy(parent, z[part], limit.limit(batches()))
    return found


@own_modes()
@torch.no_grad()
def recalibrate(parent: nn.Module, z: Tensor, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace running statistics by those of architecture ``z`` on training images.

    Each batch counts equally, instead of the exponential average of training. Batch norms that the
    architecture does not use keep a mean of 0 and a variance of 1.

    Args:
        parent: The network; its running statistics change, and it ends in evaluation mode.
        z: One architecture, shape ``(E, K)``.
        batches: Normalised training images, without augmentation.
    """
    statistics = _running_statistics(parent)
    totals = {name: torch.zeros_like(buffer) for name, buffer in statistics.items()}
    count = 0
    parent.train()
    for images, _ in batches:
        for buffer in statistics.values():
            buffer.zero_()
        parent(images, z[None].to(images.device))  # now momentum times the batch's statistic
        for name, buffer in statistics.items():
            totals[name] += buffer / BATCH_NORM_MOMENTUM
        count += 1
    for name, buffer in statistics.items():
        mean = totals[name] / count
        unused = (mean == 0) & name.endswith("var")
        buffer.copy_(torch.where(unused, torch.ones_like(mean), mean))
    parent.eval()


def _running_statistics(parent: nn.Module) -> dict[str, Tensor]:
    return {n: b for n, b in parent.named_buffers() if n.endswith(("mean", "var"))}


@torch.no_grad()
def child_matrix(
    parent: nn.Module,
    space: Space,
    estimator: Estimator,
    dist: Distribution,
    generator: torch.Generator,
    *,
    valid: Batches,
    calibration: Batches,
    samples: int,
    needed: str = "argmax",
    derived: Tensor | None = None,
    deadline: Deadline | None = None,
) -> list[ChildAccuracy]:
    """Return the accuracy of every view with both kinds of statistics.

    The parent, its mode and its statistics are as before afterwards. Where the time is up, what the
    result needs (the derived child with both statistics, the sampled one with the parent's) is
    measured on the first batch alone, and other views are left out.

    Args:
        parent: The trained parent.
        space: The space.
        estimator: The estimator, at the end of its schedule.
        dist: The distribution.
        generator: Source of the samples.
        valid: Yields the validation batches anew at each call.
        calibration: Yields training batches for recalibration anew at each call.
        samples: Architectures for each sampled view.
        needed: The view of the derived child: one of the usual ones, or the name of a derive rule.
        derived: What that rule derived, shape ``(E, K)``, where it is none of the usual views.
        deadline: When it has to end; None: never.
    """
    time, first = deadline or Deadline(), (needed, "hard")
    buffers = {name: b.clone() for name, b in parent.named_buffers()}
    training, was_training = parent.training, estimator.training
    estimator.eval()
    results: dict[str, list[ChildAccuracy]] = {}
    draws: dict[str, list[Tensor]] = {
        view: _draws(view, space, estimator, dist, generator, samples) for view in VIEWS
    }
    if derived is not None:
        draws[needed] = [derived]
    for view in sorted(draws, key=lambda name: name not in first):
        if not (chosen := draws[view]) or (view not in first and time.leaves_out()):
            continue
        inherited = accuracy(parent, torch.stack(chosen), time.limit(valid()))
        results[view] = [_summary(view, "inherited", inherited)]
        recalibrated: list[Tensor] = []
        for one in chosen:
            if (view != needed or recalibrated) and time.leaves_out():
                break
            recalibrate(parent, one, time.limit(calibration()))
            recalibrated.append(accuracy(parent, one[None], time.limit(valid())))
            _restore(parent, buffers)
        if recalibrated:
            results[view].append(_summary(view, "recalibrated", torch.cat(recalibrated)))
    parent.train(training)
    estimator.train(was_training)
    return [cell for view in draws for cell in results.get(view, [])]


def _draws(
    view: ViewName,
    space: Space,
    estimator: Estimator,
    dist: Distribution,
    generator: torch.Generator,
    samples: int,
) -> list[Tensor]:
    number = samples if view in SAMPLED else 1
    drawn = [view_weights(view, space, estimator, dist, generator) for _ in range(number)]
    return [z for z in drawn if z is not None]


def _restore(parent: nn.Module, buffers: dict[str, Tensor]) -> None:
    own = dict(parent.named_buffers())
    for name, value in buffers.items():
        own[name].copy_(value)


def _summary(view: str, statistics: str, values: Tensor) -> ChildAccuracy:
    std = float(values.std(correction=1)) if len(values) > 1 else 0.0
    return ChildAccuracy(view, statistics, float(values.mean()), std, len(values))
