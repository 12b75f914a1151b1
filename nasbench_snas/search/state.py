"""The complete state of a search, and how it is taken up again, on any backend and device."""

from __future__ import annotations

from typing import Any

from nasbench_snas.compute.training import momenta, require_images, restore_momenta
from nasbench_snas.seeding import restore_generator


def state_of(search: Any) -> dict[str, Any]:
    """Return everything that changes, as tensors and plain containers.

    Network tensors have the reference parent's names, so that any backend can continue.

    Raises:
        DivergedError: A loss was not finite; no checkpoint should hold such weights.
    """
    names = [name for name, _ in search.parent.named_parameters()]
    optimizer = search.learner.theta_optimizer
    canonical = search.parent.canonical
    transformers = search.transformers
    changing = {} if transformers is None else {"transformers": transformers.state_dict()}
    if search.stops is not None:
        changing["stops"] = search.stops.state_dict()
    return {
        **changing,
        "parent": canonical(search.parent.state_dict()),
        "theta_momenta": canonical(momenta(optimizer, names)),
        "dist": search.dist.state_dict(),
        "estimator": search.estimator.state_dict(),
        "alpha_optimizer": search.learner.alpha_optimizer.state_dict(),
        "resource": search.resource.state_dict(),
        "generators": {name: g.get_state() for name, g in search.generators.items()},
        "train_stream": search.train_stream.state_dict(),
        "arch_stream": search.arch_stream.state_dict() if search.arch_stream else None,
        "split": search.splits.fingerprint,
        "epoch": search.epoch,
        "step": search.step,
        "elapsed": search.elapsed,
        "truth": [search.ranking.seconds, search.ranking.last] if search.ranking else None,
        "sums": search.totals.read(),
        "history": list(search.history),
    }


def restore(search: Any, state: dict[str, Any]) -> None:
    """Continue from ``state``; its tensors may be anywhere.

    Raises:
        CheckpointError: The images are not those that the state was made with.
    """
    require_images(state["split"], search.splits.fingerprint, "run", "Split")
    own = search.parent.from_canonical
    search.parent.load_state_dict(own(state["parent"]))
    theta = dict(search.parent.named_parameters())
    restore_momenta(search.learner.theta_optimizer, theta, own(state["theta_momenta"]))
    search.dist.load_state_dict(state["dist"])
    search.estimator.load_state_dict(state["estimator"])
    search.learner.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
    search.resource.load_state_dict(state["resource"])
    for name, generator in search.generators.items():
        restore_generator(generator, state["generators"][name])
    if search.transformers is not None:
        search.transformers.load_state_dict(state["transformers"])
    if search.stops is not None:
        search.stops.load_state_dict(state["stops"])
    search.train_stream.load_state_dict(state["train_stream"])
    if search.arch_stream:
        search.arch_stream.load_state_dict(state["arch_stream"])
    search.epoch, search.step, search.elapsed = state["epoch"], state["step"], state["elapsed"]
    search.forget_selection()
    if search.ranking is not None and state.get("truth"):
        search.ranking.seconds, search.ranking.last = state["truth"]
        search.apart = search.ranking.seconds
    search.totals.begin(state["sums"])
    search.history = [probs.cpu() for probs in state["history"]]
    search.tell_progress(max(search.step - 1, 0))
