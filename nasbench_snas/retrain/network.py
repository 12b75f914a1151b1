"""The network of a retraining: built from its settings, its cost checked before it is trained."""

from __future__ import annotations

import json

from nasbench_snas.architecture.genotype import Genotype
from nasbench_snas.architecture.space import Space
from nasbench_snas.cost.network import network_parts, total
from nasbench_snas.cost.table import Cost
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.settings.parameters import create
from nasbench_snas.settings.retrain import RetrainConfig
from nasbench_snas.settings.run import Choice
from nasbench_snas.supernet.child.plan import ChildPlan, ChildSettings, plan_child, plan_in_space


def genotype_of(config: RetrainConfig) -> Genotype:
    """Return the cells that are trained."""
    return Genotype.from_dict({**json.loads(config.genotype), "name": config.name})


def network_plan(
    config: RetrainConfig, shape: tuple[int, int, int], num_classes: int, registry: Registry
) -> ChildPlan:
    """Return the network of ``config`` as data.

    Args:
        config: The settings, with a resolved skeleton.
        shape: Channels, height and width of an image.
        num_classes: Classes.
        registry: Where operations and the search space (skeleton ``space``) come from.

    Raises:
        ConfigError: The skeleton needs a space, or square images.
        GenotypeError: The genotype does not fit.
    """
    channels, height, width = shape
    if height != width:
        raise ConfigError(
            f"images have {height} x {width} pixels, the networks take square ones.",
            fix="Set data.resolution.",
        )
    registry.offer_operations()
    genotype, settings = genotype_of(config), config.network
    if settings.skeleton == "space":
        return plan_in_space(genotype, _space(config.space, registry, shape, num_classes))
    return plan_child(
        genotype,
        ChildSettings(
            recipe="imagenet" if settings.skeleton == "imagenet" else "cifar",
            channels=settings.channels,
            layers=settings.cells,
            num_classes=num_classes,
            in_channels=channels,
            resolution=width,
            stem_multiplier=settings.stem_multiplier,
            auxiliary=settings.auxiliary > 0,
            auxiliary_norm=settings.auxiliary_norm,
            pool_norm=settings.pool_norm,
            dropped_nodes=settings.dropped_nodes,
            auxiliary_skip=settings.auxiliary_skip,
        ),
    )


def _space(
    choice: Choice | None, registry: Registry, shape: tuple[int, int, int], num_classes: int
) -> Space:
    if choice is None:
        raise ConfigError(
            "the skeleton 'space' needs a search space.",
            "A genotype alone does not say in which network it was found.",
            "Retrain a run, or pass --set space.name=…",
        )
    family = create(registry.space(choice.name), choice.parameters, "space")
    return family.build(shape[0], num_classes, shape[2])


def check_budget(config: RetrainConfig, plan: ChildPlan, *, allow: bool = False) -> Cost:
    """Return the network's cost; refuse one above the budget unless ``allow``.

    Raises:
        ConfigError: It needs more multiply-adds than ``network.max_macs``.
    """
    cost = total(network_parts(plan))
    limit = config.network.max_macs
    if limit is not None and cost.macs > limit and not allow:
        raise ConfigError(
            f"the network needs {cost.macs / 1e6:.4g} M multiply-adds, "
            f"more than the limit of {limit / 1e6:g} M.",
            f"{config.name}: {config.network.cells} cells, {config.network.channels} channels, "
            f"{plan.resolution} x {plan.resolution} pixels.",
            "Lower --set network.channels=…, or train it all the same with --allow-over-budget.",
        )
    return cost
