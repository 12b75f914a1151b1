"""The HTML report: one file, escaped, deterministic, and alive in a real browser."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report_runs import make_run

from nasbench_snas.reports.build import ReportOptions, build_report
from nasbench_snas.reports.render.html import _pixels
from nasbench_snas.reports.tables.model import Column, Table, Value
from nasbench_snas.reports.write import write_report

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
NAME = "snas-'\"><script>alert(3)<!--"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    for seed, value in enumerate((61.0, 64.0, 58.0)):
        make_run(root, "snas", seed, search=value)
        make_run(root, "darts", seed, search=80 + value / 10, child=20.0 + seed)
    make_run(root, "random", 0, search=30.0)
    make_run(root, "random", 1, status="diverged", reason=HOSTILE)
    make_run(root, "snas", 3, name=NAME.replace("/", ""), result={"protocol_note": HOSTILE})
    return root


def write(root: Path, out: Path, *figures: str) -> Path:
    options = ReportOptions(tables=("1", "timing"), figures=figures or ("none",), formats=("html",))
    write_report(build_report([root], options), out)
    return out / "report.html"


@pytest.fixture(scope="module")
def page(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(store, tmp_path_factory.mktemp("out"), "3", "4", "gap")


class Reader(html.parser.HTMLParser):
    """Collects what matters: tags, attributes that load or run something, text by tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def test_hostile_names_and_reasons_are_text_and_nothing_else(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    reader = read(page)
    assert reader.tags.count("script") == 1 and "img" not in reader.tags
    assert not [a for a in reader.attributes if a[1].startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
    assert "alert(3)" in content and "<script>alert(3)" not in content


def test_the_page_loads_nothing_and_forbids_itself_to(page: Path) -> None:
    reader = read(page)
    loading = {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}
    targets = [(t, n, v) for t, n, v in reader.attributes if n in loading]
    assert targets and all(v.startswith(("#", "data:")) for _, _, v in targets)
    policy = next(v for _, n, v in reader.attributes if n == "content" and "default-src" in v)
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("script-src")[1]
    assert "@import" not in page.read_text() and "url(http" not in page.read_text()


def test_ids_are_unique_and_every_internal_link_has_a_target(page: Path) -> None:
    reader = read(page)
    ids = [v for _, n, v in reader.attributes if n == "id"]
    assert len(ids) == len(set(ids))
    links = {v[1:] for _, n, v in reader.attributes if n.endswith("href") and v[:1] == "#"}
    assert links <= set(ids)


def test_it_has_the_sections_and_every_measured_number_names_its_runs(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    sections = re.findall(r'<section id="([a-z]+)">', content)
    expected = "tables figures gradients timing failures methods reproduce citations"
    assert sections == expected.split()
    table = content.partition('<div class="block" id="table1-smoke')[2].partition("</table>")[0]
    cells = re.findall(r'<td [^>]*class="n[^"]*"([^>]*)>', table)
    measured = [c for c in cells if "data-n=" in c]
    assert len(measured) > 10
    assert not [c for c in measured if "runs: " not in c]
    assert "nasbench run -e snas -s darts-cnn --seed 0" in content
    assert "xie2019snas" in content and "liu2019darts" in content


def test_figures_are_inline_vectors_with_a_description_and_a_watermark(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    assert content.count("<svg") == 3 and content.count('role="img"') == 3
    assert "Figure 3. Search progress †" in content
    assert (page.parent / "figures").is_dir()
    svgs = sorted((page.parent / "figures").glob("*.svg"))
    assert len(svgs) == 3 and not list((page.parent / "figures").glob("*.pdf"))


def test_equal_runs_give_equal_bytes(store: Path, page: Path, tmp_path: Path) -> None:
    again = write(store, tmp_path, "3", "4", "gap")
    assert again.read_bytes() == page.read_bytes()


def test_the_width_of_a_column_counts_bold_letters_as_wider() -> None:
    def part(bold: bool) -> Table:
        text = "95.36 ± 0.27 (6); median's 95 % CI [95.00, 95.71]"
        columns = (Column("a", "A", numeric=False), Column("b", "B"))
        return Table("x", "X", columns, ((Value("snas"), Value(text, bold=bold)),))

    plain, bold = (_pixels(part(b), 1) for b in (False, True))
    assert plain == pytest.approx(22 + 7.2 * 31)
    assert bold == pytest.approx(22 + 8.1 * 31, rel=0.01)  # 272 pixels, as a browser draws it


HARNESS = """<!DOCTYPE html><body>
<iframe src="report.html" width="1280" height="900"></iframe><script>
var frame = document.querySelector("iframe"), found = {errors: []};
function column(table, index) {
  return Array.from(table.tBodies[0].rows, function (row) {
    return row.cells[index].textContent.trim(); });
}
frame.addEventListener("load", function () {
  var page = frame.contentDocument, view = frame.contentWindow;
  var table = page.querySelector("table");
  var heads = Array.from(table.querySelectorAll("thead tr:last-child th"));
  var index = heads.findIndex(function (h) {
    return h.textContent.startsWith("Search acc"); });
  var head = heads[index], button = head.querySelector("button");
  found.original = column(table, 0);
  button.focus();
  found.focused = page.activeElement === button;
  button.click(); found.down = column(table, 0); found.sort = head.getAttribute("aria-sort");
  button.click(); found.up = column(table, 0); found.sort2 = head.getAttribute("aria-sort");
  button.click(); found.back = column(table, 0);
  heads[0].querySelector("button").click(); found.words = column(table, 0);
  found.announced = page.getElementById("said").textContent;
  var cell = table.querySelector("tbody td[data-n][title]");
  cell.click();
  var behind = page.getElementById("behind");
  found.shown = !behind.hidden && behind.textContent.indexOf("runs: ") >= 0;
  page.dispatchEvent(new view.KeyboardEvent("keydown", {key: "Escape", bubbles: true}));
  found.closed = behind.hidden;
  function press(key) {
    page.activeElement.dispatchEvent(new view.KeyboardEvent("keydown", {key: key, bubbles: true}));
  }
  found.stops = table.tBodies[0].querySelectorAll("[tabindex='0']").length;
  table.tBodies[0].querySelector("[tabindex='0']").focus();
  press("ArrowUp"); press("ArrowRight"); press("ArrowRight"); press("ArrowDown");
  found.moved = [page.activeElement.cellIndex, page.activeElement.parentElement.sectionRowIndex];
  press("Enter");
  found.by_keyboard = !behind.hidden && behind.textContent.indexOf("runs: ") >= 0;
  press("Escape");
  found.requests = view.performance.getEntriesByType("resource").map(function (e) {
    return e.name; });
  found.measured = Array.from(page.querySelectorAll(".scroll:has(.cards)")).map(function (box) {
    return box.scrollWidth - box.clientWidth; });
  found.title = page.title; found.alerts = view.hacked || null;
  frame.width = 400;
  requestAnimationFrame(function () { requestAnimationFrame(function () {
    found.overflow = page.documentElement.scrollWidth - view.innerWidth;
    found.narrow = Array.from(page.querySelectorAll(".cards tbody td .v, .cards tbody th .v"))
      .filter(function (value) {
        var box = value.getBoundingClientRect();
        return box.right > view.innerWidth || box.left < 0; }).map(function (value) {
        return value.textContent; });
    var out = document.createElement("pre"); out.id = "found";
    out.textContent = JSON.stringify(found); document.body.appendChild(out);
  }); });
});
</script></body>"""


@pytest.mark.slow
def test_a_browser_shows_and_sorts_it_without_errors_or_requests(
    page: Path, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    shutil.copy(page, tmp_path / "report.html")
    (tmp_path / "harness.html").write_text(HARNESS)
    command = [
        chromium,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
        "--dump-dom",
        (tmp_path / "harness.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert "CONSOLE" not in done.stderr, re.findall(r".*CONSOLE.*", done.stderr)
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    assert found["original"] == ["darts †", "random †", "snas †"]
    assert found["down"] == ["darts †", "snas †", "random †"]
    assert found["up"] == ["random †", "snas †", "darts †"]
    assert found["back"] == found["original"]
    assert (found["sort"], found["sort2"]) == ("descending", "ascending")
    assert found["words"] == sorted(found["original"], key=str.lower)
    assert found["focused"] and "sorted ascending" in found["announced"]
    assert found["shown"] and found["closed"]
    assert (found["stops"], found["moved"], found["by_keyboard"]) == (1, [2, 1], True)
    assert found["requests"] == [] and found["alerts"] is None
    assert found["overflow"] <= 0, "the page itself scrolls sideways on a phone"
    assert max(found["measured"]) <= 0, "a table is wider than a window of 1280 pixels"
    assert found["narrow"] == [], "a number is cut at 400 pixels"
