"""A study of gradients as a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasbench_snas.api import Estimator
from nasbench_snas.errors import ConfigError
from nasbench_snas.interface.calls import interruptible
from nasbench_snas.interface.given import EstimatorLike, Given, Named, SpaceLike, assignments
from nasbench_snas.interface.progress import Progress, reporting
from nasbench_snas.interface.results import StudyResult
from nasbench_snas.interface.stores import is_temporary, store_of
from nasbench_snas.study.plan import plan_study
from nasbench_snas.study.study import run_study, study_folder


def study(
    estimators: EstimatorLike | Sequence[EstimatorLike] = "all",
    space: SpaceLike = "snas-unit",
    *,
    points: Sequence[str | float] | None = None,
    temperatures: Sequence[float] | None = None,
    samples: int | None = None,
    seed: int | None = None,
    max_seconds: float | None = None,
    settings: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    root: str | Path | None = None,
    plugins: Sequence[type | str | Path] = (),
    progress: Progress = None,
) -> StudyResult:
    """Measure bias, variance and cost of gradient estimators at points of real searches.

    It is ``nasbench gradients``: theta, architecture parameters and minibatch are frozen at each
    point, and draws are compared with the exact gradient. The same call continues a study that was
    stopped, also with more ``samples``. For a function of one's own there is
    :func:`nasbench_snas.compare_gradients`.

    Args:
        estimators: One or several: names (``snas``, ``rloo:n=8``, ``all``), subclasses of
            :class:`nasbench_snas.api.Estimator`, or objects (measured with their settings).
        space: As of :func:`nasbench_snas.search`.
        points: ``init``, ``mid``, ``late``, a fraction of the training, or a run's id in ``root``.
        temperatures: Of estimators that anneal one.
        samples: Draws of each estimator at most.
        seed: Seed of weights, batches and noise.
        max_seconds: Stop after so long; the result is truncated.
        settings: Further settings, as ``{"recipe.steps": 60}`` or nested.
        config: A TOML file of settings.
        root: The run store. None: a temporary one, which ends with this process.
        plugins: As of :func:`nasbench_snas.search`.
        progress: As of :func:`nasbench_snas.search`.

    Returns:
        The result; its table and figures.

    Raises:
        CheckpointError: The folder is in use or damaged, or a class of a notebook has changed since
            the study was begun.
        ConfigError: A setting is wrong, or there is nothing to measure.
        KeyboardInterrupt: Ctrl-C; the same call continues.
        PluginError: An estimator or space is unknown or broken, or has no text to be recorded.
    """
    given = Given(plugins)
    single = isinstance(estimators, str | type | Estimator)
    chosen: Sequence[Any] = [estimators] if single else list(estimators)  # type: ignore[arg-type]
    names = [_specification(given.estimator(item)) for item in chosen]
    where, changed = given.space(space), given.settings(settings)
    values: dict[str, Any] = {
        "estimators": names,
        "points": None if points is None else [str(point) for point in points],
        "temperatures": None if temperatures is None else list(temperatures),
        "samples": samples,
        "seed": seed,
        "max_time": max_seconds,
    }
    planned = plan_study(
        given.registry,
        where.name,
        None if config is None else Path(config),
        assignments(changed, ("space", where)),
        {key: value for key, value in values.items() if value is not None},
    )
    store = store_of(root, given.sources)
    folder = study_folder(planned, store)
    if root is not None:
        given.check_stored(folder, "or the study another root")
    with (
        reporting(progress, folder.run_id) as report,
        interruptible(is_temporary(store)),
    ):
        run_study(planned, given.registry, store, report)
    return StudyResult.read(folder.path)


def _specification(named: Named) -> str:
    """Return a name with its settings, as after ``nasbench gradients -e``."""
    if any("," in str(value) for value in named.settings.values()):
        raise ConfigError(
            f"estimators: the settings {dict(named.settings)} of {named.name} hold lists.",
            "A study names its rows by plain settings.",
        )
    settings = ",".join(f"{key}={value}" for key, value in named.settings.items())
    return f"{named.name}:{settings}" if settings else named.name
