"""Damaged run folders and damaged folders of images: refused in words, or the same result."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from campaign_judge import Ended, Verdict, forked
from campaign_mutations import mutated_bytes
from campaign_store import fingerprint, run_words, settings
from PIL import Image

Damage = Callable[[random.Random, Path], str]


def damaged_run(chance: random.Random, store: Path, scratch: Path) -> list[tuple[str, Verdict]]:
    """Damage one run of a copy of ``store`` and give commands for it; return their verdicts.

    A command may refuse the run. Where ``run`` ends well, its results must be those of the run that
    nobody damaged, and every reader must do without a traceback.
    """
    root = scratch / "damaged"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(store, root, symlinks=True)
    runs = sorted(root.glob("snas-*"))
    whole, run = fingerprint(root / runs[0].name), runs[0]
    if chance.random() < 0.4:  # as if it had been killed before its end
        (run / "result.json").unlink()
        (run / "status.json").write_text('{"status": "running", "reason": "", "updated": 1.0}')
    what = " and ".join(_damage(chance, run, runs) for _ in range(chance.choice((1, 1, 2))))
    name = run.name
    retraining = ["retrain", name, "--dry-run"]
    readers: list[list[str]] = [
        ["ls"],
        ["ls", "runs", "--reindex"],
        ["show", name],
        ["report", "--format", "terminal,csv", "--out", str(scratch / "out"), "--figure", "none"],
        ["evaluate", name],
        ["cost", name],
        ["draw", name, "--out", str(scratch / "out"), "--format", "dot"],
        ["draw", name, "--evolution", "--out", str(scratch / "out"), "--format", "dot"],
        ["cite", name],
        retraining,
    ]
    found = []
    for words in [*chance.sample(readers, 3), ["run", "--resume", name], run_words(0)]:
        ended = forked(["--root", str(root), *words])
        trains = words[0] in ("run", "evaluate", "report")
        found.append(
            (f"{what}: {words[0]} {words[1] if words[1:] else ''}", ended.verdict(long=trains))
        )
    if run.exists() and ended.code == 0:
        again = fingerprint(run)
        kept = [k for k in whole if not k.startswith("checkpoints")]  # of another run: not read
        different = sorted(k for k in kept if again.get(k) != whole[k])
        if different:
            why = f"other {', '.join(different)}"
            found.append((f"{what}: result", Verdict("mismatch", why)))
    return found


def _damage(chance: random.Random, run: Path, runs: list[Path]) -> str:
    """Damage one file of a run folder and say how."""
    files = sorted(p for p in run.rglob("*") if p.is_file() and not p.is_symlink())
    file = chance.choice(files)
    kind = chance.choice(("cut", "cut", "cut", "gone", "folder", "empty", "other", "loop", "fifo"))
    other = runs[1] / file.relative_to(run)
    content = file.read_bytes()
    if kind == "other" and not other.is_file():
        kind = "cut"
    if kind == "cut":
        file.write_bytes(mutated_bytes(chance, content))
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "other":  # a file of another seed's run
        shutil.copyfile(other, file)
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "loop":
            file.symlink_to(file)
        elif kind == "fifo":
            os.mkfifo(file)
    return f"{file.relative_to(run)} {kind}"


def make_images(root: Path, chance: random.Random) -> None:
    """Make a small ImageFolder tree."""
    for part, each in (("train", 12), ("test", 4)):
        for label in ("cat", "dog"):
            folder = root / part / label
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = np.frombuffer(chance.randbytes(8 * 8 * 3), np.uint8).reshape(8, 8, 3)
                Image.fromarray(pixels).save(folder / f"{number}.png")


def _half(chance: random.Random, tree: Path) -> str:
    file = chance.choice(sorted(tree.rglob("*.png")))
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(len(content))])
    return "refused"


def _no_image(chance: random.Random, tree: Path) -> str:
    chance.choice(sorted((tree / "train").rglob("*.png"))).write_bytes(chance.randbytes(200))
    return "refused"


def _pipe(chance: random.Random, tree: Path) -> str:
    os.mkfifo(tree / "train" / "cat" / "pipe.png")
    return "refused"


def _folder(chance: random.Random, tree: Path) -> str:
    (tree / "train" / "cat" / "folder.png").mkdir()
    return "any"


def _loop(chance: random.Random, tree: Path) -> str:
    (tree / "train" / "cat" / "again").symlink_to(tree / "train")
    return "refused"


def _dangling(chance: random.Random, tree: Path) -> str:
    (tree / "train" / "dog" / "x.png").symlink_to(tree / "nowhere.png")
    return "refused"


def _deep(chance: random.Random, tree: Path) -> str:
    kind = chance.choice((np.float32, np.int32))
    Image.fromarray(np.ones((8, 8), kind)).save(tree / "train" / "dog" / "deep.tif")
    return "refused"


def _bomb(chance: random.Random, tree: Path) -> str:
    Image.new("1", (20_000, 20_000)).save(tree / "train" / "dog" / "huge.png")
    return "refused"


def _empty_class(chance: random.Random, tree: Path) -> str:
    (tree / "train" / "bird").mkdir()
    return "any"


def _one_class_less(chance: random.Random, tree: Path) -> str:
    shutil.rmtree(tree / "test" / "dog")
    return "any"


def _no_part(chance: random.Random, tree: Path) -> str:
    shutil.rmtree(tree / "train")
    return "refused"


def _odd_name(chance: random.Random, tree: Path) -> str:
    name = chance.choice(("\x1b[2J", "=1+1", "a\nb", "$\\frac$", "ä" * 60, " "))
    (tree / "train" / "dog").rename(tree / "train" / name)
    (tree / "test" / "dog").rename(tree / "test" / name)
    return "any"


def _beside(chance: random.Random, tree: Path) -> str:
    (tree / "train" / "cat" / ".hidden").write_text("x")
    (tree / "train" / "cat" / "notes.txt").write_text("x")
    return "same"


def _touched(chance: random.Random, tree: Path) -> str:
    for file in tree.rglob("*.png"):
        os.utime(file, (1, 1))
    return "same"


def _cache(chance: random.Random, tree: Path) -> str:
    files = sorted(p for p in Path(os.environ["NASBENCH_CACHE"]).rglob("*") if p.is_file())
    for file in files:
        if "kernels" not in file.parts:
            file.write_bytes(mutated_bytes(chance, file.read_bytes()))
    return "same"


def _pixel(chance: random.Random, tree: Path) -> str:
    file = chance.choice(sorted((tree / "train").rglob("*.png")))
    before = file.stat()
    pixels = np.asarray(Image.open(file)).copy()
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "another run"


DATA: tuple[Damage, ...] = (
    *(_half, _no_image, _pipe, _folder, _loop, _dangling, _deep, _bomb, _empty_class),
    *(_one_class_less, _no_part, _odd_name, _beside, _touched, _cache, _pixel),
)


def damaged_data(
    number: int, chance: random.Random, whole: Path, scratch: Path
) -> list[tuple[str, Verdict]]:
    """Damage a copy of an image folder, run on it, and return the verdicts."""
    tree, root = scratch / "images", scratch / "runs-on-images"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole, tree)
    words = ["--root", str(root), *data_words(tree)]
    first = forked(words)
    if first.code != 0:
        return [("images that nobody damaged", Verdict("unclear", first.text[-200:]))]
    before = {path.name: fingerprint(path) for path in root.glob("snas-*")}
    shutil.rmtree(root)
    damage = DATA[number % len(DATA)]
    wanted = damage(chance, tree)
    second = forked(words)
    verify = forked(["data", "verify", "imagefolder", "--root", str(tree)])
    what = damage.__name__.strip("_")
    found = [(f"{what}: run", second.verdict(long=True)), (f"{what}: verify", verify.verdict())]
    after = {path.name: fingerprint(path) for path in root.glob("snas-*")}
    found.append((f"{what}: result", _as_wanted(wanted, second, before, after)))
    return found


def data_words(tree: Path) -> list[str]:
    """Return the command of a search on an image folder."""
    values = ("data.dataset=imagefolder", f'data.root="{tree}"', "data.resolution=8")
    sizes = ("search.epochs=1", "search.batch_size=8", "space.channels=2", "child.samples=1")
    more = settings((*values, *sizes, "child.recalibration_images=8"))
    return ["run", "-e", "snas", "-s", "snas-unit", *more]


def _as_wanted(
    wanted: str, ended: Ended, before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]
) -> Verdict:
    if wanted == "refused" and ended.code == 0 and before != after:  # a cut behind the pixels
        return Verdict("unclear", "accepted but wrong")
    if wanted == "same" and (ended.code != 0 or before != after):
        return Verdict("mismatch", f"not the same run: {ended.text[-160:]}")
    if wanted == "another run" and (ended.code != 0 or set(before) & set(after)):
        return Verdict("mismatch", "other pixels, the same run")
    return Verdict("fine")
