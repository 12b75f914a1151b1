"""Where, with what and how a run was made: the contents of ``env.json``."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import os
import platform
import subprocess
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from nasbench_snas import __version__
from nasbench_snas.runs.binding import digest_of

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "triton")
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTHONHASHSEED",
    "SLURM_JOB_ID",
    "SLURM_PROCID",
    "RAY_JOB_ID",
    "WORLD_SIZE",
    "RANK",
    "NASBENCH_KERNELS",
)
_LARGEST_DIFF = 1_000_000


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """Return commit, branch and uncommitted changes of the checkout the suite runs from.

    Returns:
        Keys ``sha``, ``branch``, ``dirty``, ``diff_sha`` and, below 1 MB, ``diff``; ``sha`` is
        None outside a checkout of the suite.
    """
    where = folder or Path(__file__).resolve().parents[2]
    sha = _git(where, "rev-parse", "HEAD") if (where / ".git").exists() else None
    if sha is None:
        return {"sha": None, "branch": None, "dirty": None}
    diff = _git(where, "diff", "HEAD") or ""
    state: dict[str, Any] = {
        "sha": sha,
        "branch": _git(where, "rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": bool(diff),
    }
    if diff:
        state["diff_sha"] = hashlib.blake2b(diff.encode(), digest_size=8).hexdigest()
        if len(diff) < _LARGEST_DIFF:
            state["diff"] = diff
    return state


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python, the suite and the packages that decide results."""
    found = {"python": platform.python_version(), "nasbench_snas": __version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def freeze() -> str:
    """Return all installed distributions, one ``name==version`` a line."""
    names = {f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions()}
    return "\n".join(sorted(names, key=str.lower)) + "\n"


def host_id() -> str:
    """Return a hash of the host name, so that folders of several machines can be told apart."""
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()


def boot_id() -> str:
    """Return the kernel's boot id, or an empty text where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """Return a readable name of ``device``, with the number of cores for a CPU."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(torch.device(device)))
    return f"cpu ({os.cpu_count()} cores)"


def rounding(device: str) -> dict[str, Any]:
    """Return what the last bits of a result on ``device`` depend on, besides settings."""
    import torch

    name = device_name(device) if device.startswith("cuda") else cpu_model()
    return {"device": name, "threads": torch.get_num_threads(), "torch": str(torch.__version__)}


def environment(device: str) -> dict[str, Any]:
    """Return the record of one start of a run on ``device``, as plain JSON values."""
    import torch

    cuda: dict[str, Any] = {"available": torch.cuda.is_available(), "version": torch.version.cuda}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        cuda |= {
            "name": properties.name,
            "count": torch.cuda.device_count(),
            "memory": properties.total_memory,
            "cudnn": torch.backends.cudnn.version(),
        }
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "started": time.time(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": git_state(),
        "versions": versions(),
        "device": device,
        "device_name": device_name(device),
        "cuda": cuda,
        "cpu": {"model": cpu_model(), "count": os.cpu_count()},
        "memory": memory,
        "os": platform.platform(),
        "host_id": host_id(),
        "threads": torch.get_num_threads(),
        "flags": {
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            **_tf32(),
        },
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _tf32() -> dict[str, bool]:
    """Return whether products and convolutions in float32 may be computed in TF32."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch 2.9 announces other names of these
        return {
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        }


def source_hash(cls: type) -> str:
    """Return a hash of the file that defines ``cls`` (a changed estimator makes runs stale).

    Of a class without a file, such as one of a notebook, it is that of :func:`class_source`.
    """
    file = file_of(cls)
    content = file.read_bytes() if file else (class_source(cls) or cls.__qualname__).encode()
    return digest_of(content)


def file_of(cls: type) -> Path | None:
    """Return the file that a class stands in; None in a notebook, or where a program was typed."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    path = Path(file).resolve() if file else None
    return path if path is not None and path.is_file() else None


def class_source(cls: type) -> str | None:
    """Return the text of a class that stands in no file, such as one of a notebook's cell.

    Its base classes that stand in no file either follow. What the class merely calls (a function of
    another cell) is no part of it.

    Returns:
        None where a text cannot be had: the class was made by ``exec`` or ``type``.
    """
    texts = [
        _statement(base)
        for base in cls.__mro__
        if base.__module__ != "builtins" and file_of(base) is None
    ]
    known = [text for text in texts if text]
    return "\n".join(known) if known and len(known) == len(texts) else None


def _statement(cls: type) -> str | None:
    """Return the class statement of ``cls``, found by the code of one of its functions.

    Of a class that only sets plain values, it is their list.
    """
    for member in vars(cls).values():
        function = inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", member)))
        code = getattr(function, "__code__", None)
        if code is None or getattr(function, "__module__", None) != cls.__module__:
            continue
        text = "".join(linecache.getlines(code.co_filename))
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if not (isinstance(node, ast.ClassDef) and node.name == cls.__name__):
                continue
            if node.lineno <= code.co_firstlineno <= (node.end_lineno or 0):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                return "".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno])
    own = {key: value for key, value in vars(cls).items() if not key.startswith("__")}
    plain = all(isinstance(value, bool | int | float | str | tuple) for value in own.values())
    return f"{cls.__qualname__} {sorted(own.items())!r}" if own and plain else None
