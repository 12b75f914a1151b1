"""Which backend runs, and when a run waits for the compiler."""

import os
import subprocess
import sys
import time

import pytest
import torch

from nasbench_snas.errors import ConfigError, MissingDependencyError
from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.cpu import build
from nasbench_snas.kernels.dispatch import WAIT_SECONDS


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("NASBENCH_KERNELS", raising=False)
    return tmp_path


def test_auto_starts_a_background_build_and_does_not_wait(empty_cache, monkeypatch):
    if build.missing_compiler():
        pytest.skip(build.missing_compiler())
    started = []
    monkeypatch.setattr(build.subprocess, "Popen", lambda *args, **kw: started.append(args))
    before = time.monotonic()
    kernels, note = select_backend("auto")
    assert kernels.name == "reference" and "background" in note
    assert len(started) == 1 and time.monotonic() - before < 5


def test_auto_says_that_there_is_no_compiler(empty_cache, monkeypatch):
    monkeypatch.setenv("NASBENCH_NO_COMPILER", "1")
    kernels, note = select_backend("auto")
    assert kernels.name == "reference" and "no C++ compiler" in note
    assert not list(empty_cache.rglob("*.so"))


def test_asking_for_cpu_kernels_without_a_compiler_fails_with_a_remedy(empty_cache, monkeypatch):
    monkeypatch.setenv("NASBENCH_NO_COMPILER", "1")
    with pytest.raises(MissingDependencyError, match="no C\\+\\+ compiler"):
        select_backend("cpu")


def test_the_environment_replaces_auto_but_not_a_name(monkeypatch):
    monkeypatch.setenv("NASBENCH_KERNELS", "reference")
    assert select_backend("auto")[0].name == "reference"
    monkeypatch.setenv("NASBENCH_KERNELS", "fastest")
    assert select_backend("reference")[0].name == "reference"
    with pytest.raises(ConfigError, match="fastest"):
        select_backend("auto")


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="triton"):
        select_backend("tritn")


def test_half_precision_on_cpu_takes_the_reference_and_says_so(monkeypatch):
    monkeypatch.delenv("NASBENCH_KERNELS", raising=False)
    kernels, note = select_backend("auto", "cpu", torch.bfloat16)
    assert kernels.name == "reference" and "bfloat16" in note


def test_triton_without_a_gpu_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingDependencyError, match="CUDA|cuda"):
        select_backend("triton", "cpu")


def test_the_cache_directory_depends_on_the_sources(empty_cache, monkeypatch, tmp_path):
    first = build.cache_directory()
    changed = tmp_path / "changed.cpp"
    changed.write_text("int x;")
    monkeypatch.setattr(build, "sources", lambda: (changed,))
    assert build.cache_directory() != first


def test_a_failed_background_build_is_not_started_again(empty_cache, monkeypatch):
    if build.missing_compiler():
        pytest.skip(build.missing_compiler())
    directory = build.cache_directory()
    directory.mkdir(parents=True)
    (directory / "failed").touch()
    monkeypatch.setattr(build.subprocess, "Popen", lambda *a, **k: pytest.fail("started"))
    assert "could not be built" in select_backend("auto")[1]


def test_a_compiler_that_fails_leaves_a_mark_and_a_readable_error(empty_cache):
    fake = empty_cache / "c++"
    fake.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    fake.chmod(0o755)
    environment = {**os.environ, "NASBENCH_CACHE": str(empty_cache), "CXX": str(fake)}
    environment["NASBENCH_NO_COMPILER"] = ""
    script = "from nasbench_snas.kernels.cpu import build; build.build_or_note_failure()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0 and "could not be built" in done.stderr
    assert list(empty_cache.rglob("failed"))


def test_the_sources_neither_ask_for_fast_maths_nor_hide_nan():
    assert not any("fast-math" in flag for flag in build.FLAGS)
    for path in build.sources():
        assert "> vec{} ?" not in path.read_text() and "finite-math" not in path.read_text()


def test_a_caller_that_may_wait_builds_first_and_one_that_may_not_does_not(
    empty_cache, monkeypatch, caplog
):
    built = []
    monkeypatch.setattr(build, "missing_compiler", lambda: "")
    monkeypatch.setattr(build, "build_in_background", lambda: "later")
    monkeypatch.setattr(build, "build_or_note_failure", built.append)

    def load():
        raise MissingDependencyError("no binary.")

    monkeypatch.setattr(build, "load_cpu_kernels", load)
    assert "later" in select_backend("auto")[1] and not built
    assert "no binary" in select_backend("auto", wait=True)[1]
    assert built == [WAIT_SECONDS] and "compiling" in caplog.text
    build.cache_directory().mkdir(parents=True)
    (build.cache_directory() / "failed").touch()
    assert "later" in select_backend("auto", wait=True)[1] and len(built) == 1


def test_a_cache_directory_that_cannot_be_made_leaves_plain_pytorch(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(build, "missing_compiler", lambda: "")
    backend, note = select_backend("auto")
    assert backend.name == "reference" and "NASBENCH_CACHE" in note
    backend, note = select_backend("auto", wait=True)
    assert backend.name == "reference" and "could not be built" in note
