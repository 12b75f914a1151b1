"""The compiled binary is verified before it is loaded; a compiler is bounded and stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nasbench_snas.errors import MissingDependencyError
from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.cpu import build, compile

CODE = (
    "#include <torch/extension.h>\n"
    'PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("one", [] { return 1; }); }\n'
)
BUILD = "from nasbench_snas.kernels.cpu import build; build.build_or_note_failure()"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache with a finished build (of bytes that nobody must load)."""
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("NASBENCH_KERNELS", raising=False)
    directory = build.cache_directory()
    directory.mkdir(parents=True, mode=0o700)
    build._binary(directory).write_bytes(b"\x7fELF" + bytes(5000))
    (directory / "done").write_text(json.dumps(build._record(directory)))
    assert build.is_built()
    return directory


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "flipped", "older mark"])
def test_a_damaged_binary_is_not_loaded_but_built_anew(cached, damage, monkeypatch):
    binary = build._binary(cached)
    content = binary.read_bytes()
    if damage == "missing":
        binary.unlink()
    elif damage == "older mark":
        (cached / "done").write_text("")
    else:
        flipped = content[:-1] + b"\x01"
        binary.write_bytes({"truncated": content[:2000], "empty": b"", "flipped": flipped}[damage])
    monkeypatch.setattr(build, "load_cpu_kernels", lambda: pytest.fail("loaded"))
    monkeypatch.setattr(build, "build_in_background", lambda: "built anew")
    assert not build.is_built()
    assert "built anew" in select_backend("auto")[1]


@pytest.mark.parametrize("which", ["the binary", "all binaries"])
@pytest.mark.parametrize("how", ["group", "others", "owner"])
def test_a_cache_that_another_user_owns_or_may_write_is_refused(cached, which, how, monkeypatch):
    folder = cached if which == "the binary" else cached.parent
    if how == "owner":
        monkeypatch.setattr(build.os, "geteuid", lambda: folder.stat().st_uid + 1)
    else:
        folder.chmod(0o770 if how == "group" else 0o707)
    monkeypatch.setattr(build, "missing_compiler", lambda: "")
    monkeypatch.setattr(build.subprocess, "Popen", lambda *a, **k: pytest.fail("started"))
    monkeypatch.setattr(build, "compile_extension", lambda *a: pytest.fail("compiled"))
    backend, note = select_backend("auto")
    assert backend.name == "reference" and "not loaded" in note
    with pytest.raises(MissingDependencyError, match="NASBENCH_CACHE|chmod 700"):
        select_backend("cpu")


def test_the_cache_is_made_for_its_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "missing_compiler", lambda: "")
    monkeypatch.setattr(build.subprocess, "Popen", lambda *a, **k: None)
    build.build_in_background()
    for folder in (build.cache_directory(), build.cache_directory().parent):
        assert folder.stat().st_mode & 0o777 == 0o700


def fake_compiler(folder, script):
    file = folder / "c++"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return {
        **os.environ,
        "NASBENCH_CACHE": str(folder / "cache"),
        "CXX": str(file),
        "NASBENCH_NO_COMPILER": "",
    }


def test_a_compiler_that_writes_nothing_is_a_clear_error_and_leaves_a_mark(tmp_path):
    if build.missing_compiler():
        pytest.skip(build.missing_compiler())
    environment = fake_compiler(tmp_path, 'case "$*" in *version*) echo g++ 13.0.0;; esac; exit 0')
    done = subprocess.run(
        [sys.executable, "-c", BUILD], env=environment, capture_output=True, text=True, timeout=120
    )
    assert "MissingDependencyError: the C++ kernels could not be built" in done.stderr
    assert list(tmp_path.rglob("failed"))


@pytest.mark.parametrize("stop", ["time", "SIGTERM"])
def test_a_compiler_that_hangs_is_stopped(tmp_path, stop):
    if build.missing_compiler():
        pytest.skip(build.missing_compiler())
    environment = fake_compiler(tmp_path, f"echo $$ >> {tmp_path}/pids; sleep 600")
    seconds = 8 if stop == "time" else 500
    script = (
        "from nasbench_snas.kernels.cpu import build, compile\n"
        "from nasbench_snas.runs.signals import stop_signals\n"
        f"compile.COMPILE_SECONDS = {seconds}\n"
        "with stop_signals():\n    build.build_or_note_failure()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True
    )
    if stop == "SIGTERM":
        for _ in range(600):
            if (tmp_path / "pids").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (1 if stop == "time" else 143), errors
    if stop == "time":
        assert "no end after 8 s" in errors
    started = tmp_path / "pids"  # on a crowded machine the time may be over before a compiler runs
    pids = [int(pid) for pid in started.read_text().split()] if started.exists() else []
    assert (pids or stop == "time") and not any(_alive(pid) for pid in pids)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_what_is_compiled_is_loaded_once_elsewhere_and_a_damaged_build_is_repaired(
    tmp_path, monkeypatch
):
    if build.missing_compiler():
        pytest.skip(build.missing_compiler())
    source = tmp_path / "one.cpp"
    source.write_text(CODE)
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "sources", lambda: (source,))
    monkeypatch.setattr(build, "NAME", "one_kernel")
    path = build.build_cpu_kernels()
    assert build.is_built()
    path.write_bytes(path.read_bytes()[:4000])
    assert not build.is_built()
    assert build.load_cpu_kernels().one() == 1


def test_an_error_of_the_compiler_is_told_by_its_last_line(tmp_path, monkeypatch):
    source = tmp_path / "bad.cpp"
    source.write_text("int x = ;\n")
    monkeypatch.setattr(compile, "_SCRIPT", "import sys; print('the reason'); sys.exit(1)")
    with pytest.raises(MissingDependencyError, match="the reason"):
        compile.compile_extension("bad", [source], [], tmp_path)
