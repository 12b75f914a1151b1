"""Building the C++ kernels: cached, locked, in the background.

The cache directory is named after a hash of the sources, the torch version and the processor's
features, so that a changed source or another machine never loads a stale binary. ``-march=native``
is used, hence nothing compiled is ever shipped. ``-ffast-math`` is not: NaN has to propagate.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from filelock import FileLock, Timeout

from nasbench_snas.errors import MissingDependencyError
from nasbench_snas.kernels.cpu.compile import compile_extension, obeying_signals

NAME = "nasbench_cpu_kernels"
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")


def sources() -> tuple[Path, ...]:
    """Return the C++ files, the compiled ones first."""
    here = Path(__file__).parent
    return (*sorted(here.glob("*.cpp")), *sorted(here.glob("*.h")))


@cache
def _features() -> str:
    """Return what the binary depends on besides its sources."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return "\n".join([torch.__version__, python, platform.machine(), flags, *FLAGS])


def cache_directory() -> Path:
    """Return the directory of the binary for these sources on this machine (it need not exist).

    The parent directory is ``$NASBENCH_CACHE/kernels``, by default in the user's cache directory.
    """
    base = os.environ.get("NASBENCH_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "nasbench-snas"
    )
    digest = hashlib.blake2b(_features().encode(), digest_size=8)
    for path in sources():
        digest.update(path.name.encode() + path.read_bytes())
    return Path(base) / "kernels" / digest.hexdigest()


def untrusted(directory: Path) -> str:
    """Return why code in ``directory`` may be somebody else's, or an empty string.

    A binary is loaded into this process, so that nobody else may own or write the folder of the
    kernels or the one with this binary.
    """
    for folder in (directory.parent, directory):
        if not folder.exists():
            continue
        found = folder.stat()
        if found.st_uid != os.geteuid():
            return f"{folder} belongs to user {found.st_uid}; set NASBENCH_CACHE to one of yours"
        if found.st_mode & 0o022:
            return f"others may write {folder}; look what is in it, then: chmod 700 {folder}"
    return ""


def _make(directory: Path) -> None:
    """Make the folders of the kernels, for this user alone."""
    directory.parent.parent.mkdir(parents=True, exist_ok=True)
    for folder in (directory.parent, directory):
        folder.mkdir(mode=0o700, exist_ok=True)


def _binary(directory: Path) -> Path:
    return directory / f"{NAME}.so"


def _record(directory: Path) -> dict[str, object]:
    """Return what identifies the binary: its size and digest, and what it was compiled for."""
    content = _binary(directory).read_bytes()
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "compiled_for": hashlib.sha256(_features().encode()).hexdigest(),
    }


def is_built() -> bool:
    """Whether a whole binary for these sources and this processor exists.

    Loading a damaged one would kill the process, so that its size and digest are compared first.
    """
    directory = cache_directory()
    if untrusted(directory):
        return False
    try:
        expected = json.loads((directory / "done").read_text(encoding="utf-8"))
        size = _binary(directory).stat().st_size
        return bool(size == expected["bytes"] and expected == _record(directory))
    except (OSError, ValueError, TypeError, KeyError):
        return False


def missing_compiler() -> str:
    """Return why C++ cannot be compiled here, or an empty string.

    ``NASBENCH_NO_COMPILER=1`` pretends that there is no compiler.
    """
    if not any(path.suffix == ".cpp" for path in sources()):
        return "this installation lacks the C++ sources"
    if os.environ.get("NASBENCH_NO_COMPILER"):
        return "no C++ compiler (NASBENCH_NO_COMPILER is set)"
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None and shutil.which("g++") is None:
        return f"no C++ compiler found ({compiler}, g++)"
    if importlib.util.find_spec("ninja") is None and shutil.which("ninja") is None:
        return "ninja is not installed (pip install ninja)"
    return ""


def can_build() -> bool:
    """Whether compiling may be tried: there is a compiler, and it has not failed before."""
    return not missing_compiler() and not _failed().exists()


def _failed() -> Path:
    return cache_directory() / "failed"


def build_cpu_kernels(timeout: float = 1800.0) -> Path:
    """Compile the C++ kernels if they are not yet, and return the binary's path.

    Args:
        timeout: Seconds to wait for another process that is compiling them.

    Raises:
        MissingDependencyError: No compiler, or it failed.
    """
    directory = cache_directory()
    if why := untrusted(directory):
        raise MissingDependencyError(
            f"the C++ kernels are not loaded: {why}.",
            "Whoever can write there could have code of theirs run as you.",
        )
    if is_built():
        return _binary(directory)
    if why := missing_compiler():
        raise MissingDependencyError(
            f"{why}.", "The C++ kernels are optional: plain PyTorch runs instead, only slower."
        )
    try:
        _make(directory)
        with obeying_signals(), FileLock(directory / "build.lock", timeout=timeout):
            if not is_built():
                _build(directory)
    except (OSError, Timeout) as error:
        raise MissingDependencyError(
            f"the C++ kernels could not be built: {str(error).strip().splitlines()[-1]}",
            f"Build directory: {directory}",
            "Plain PyTorch runs instead; `nasbench doctor --build` shows the compiler's messages.",
        ) from error
    return _binary(directory)


def _build(directory: Path) -> None:
    """Compile anew: what a damaged build left is removed, as ninja would take it for finished."""
    (directory / "done").unlink(missing_ok=True)
    for left in (*directory.glob("*.so"), *directory.glob("*.o"), *directory.glob(".ninja_*")):
        left.unlink()
    (directory / "lock").unlink(missing_ok=True)  # of torch, held by nobody: we hold ours
    files = [path for path in sources() if path.suffix == ".cpp"]
    compile_extension(NAME, files, FLAGS, directory)
    mark = directory / "done.new"
    mark.write_text(json.dumps(_record(directory)), encoding="utf-8")
    mark.replace(directory / "done")


def load_cpu_kernels() -> ModuleType:
    """Return the compiled module, built first if need be.

    Raises:
        MissingDependencyError: It cannot be built or loaded.
    """
    path = build_cpu_kernels()
    if NAME in sys.modules and getattr(sys.modules[NAME], "__file__", None) == str(path):
        return sys.modules[NAME]
    specification = importlib.util.spec_from_file_location(NAME, path)
    if specification is None or specification.loader is None:
        raise MissingDependencyError(f"cannot load {path}.", fix="Delete it and build it again.")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"cannot load {path}: {error}", fix="Delete the directory and build again."
        ) from error
    sys.modules[NAME] = module
    return module


def build_in_background() -> str:
    """Start compiling in a process of its own unless one is at it; return one line for the user.

    The process outlives this one, has the lowest priority, and writes to ``build.log`` in the cache
    directory.
    """
    if why := missing_compiler():
        return why
    directory = cache_directory()
    if why := untrusted(directory):
        return f"the C++ kernels are not loaded: {why}"
    if _failed().exists():
        return f"the C++ kernels could not be built (see {directory / 'build.log'})"
    try:
        _make(directory)
    except OSError as error:
        return f"no directory for compiled kernels can be made ({error}); set NASBENCH_CACHE"
    lock = FileLock(directory / "build.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return "C++ kernels are being built for later runs"
    lock.release()
    script = "from nasbench_snas.kernels.cpu import build; build.build_or_note_failure()"
    python = (sys.executable, "-P")  # a file torch.py of the current folder is not imported
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MAX_JOBS": "1"}
    with (directory / "build.log").open("ab") as log:
        subprocess.Popen(
            [*(("nice", "-n", "19") if shutil.which("nice") else ()), *python, "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    return "C++ kernels are being built in the background for later runs"


def build_or_note_failure(timeout: float = 0.0) -> None:
    """Build the kernels; leave a mark in the cache directory if the compiler failed.

    Args:
        timeout: As for :func:`build_cpu_kernels`.
    """
    try:
        build_cpu_kernels(timeout)
    except MissingDependencyError as error:
        # Neither a compiler that others wait for nor a missing directory is a failure of its own.
        if not (
            isinstance(error.__cause__, OSError)
            or missing_compiler()
            or untrusted(cache_directory())
        ):
            _failed().touch()
        raise
