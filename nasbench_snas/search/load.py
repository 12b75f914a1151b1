"""A finished (or interrupted) search from its folder."""

from __future__ import annotations

from nasbench_snas.registry import Registry
from nasbench_snas.runs.checkpoint import load_checkpoint
from nasbench_snas.runs.folder import RunFolder
from nasbench_snas.runs.plugins import check_plugins
from nasbench_snas.search.plan import load_config
from nasbench_snas.search.search import Search


def load_search(folder: RunFolder, registry: Registry, device: str = "cpu") -> Search:
    """Return the search of ``folder`` at its last checkpoint.

    Raises:
        CheckpointError: There is no checkpoint, or it does not belong to the settings.
        PluginError: A plug-in that the run used is not here.
    """
    config = load_config(folder.config_file)
    check_plugins(folder, registry)
    digest = config.digest(registry.estimator(config.estimator.name).version)
    state = load_checkpoint(folder.checkpoint_file, config_hash=digest)
    search = Search(config, registry, device)
    search.load_state_dict(state["search"])
    return search
