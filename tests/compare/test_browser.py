"""The report in a real browser: it sorts, filters, draws, says nothing in the console and asks the network for nothing.

A script at the end of the page does what a reader would do, and leaves what it saw in the document that is printed.
Debian's chromium; `.ci/run` installs it, and then demands it by REQUIRE_BROWSER.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mtlgrad.compare.report.page import render
from mtlgrad.compare.results import Results
from mtlgrad.compare.rows import rows
from mtlgrad.compare.scores import with_verdicts
from mtlgrad.compare.suite import Suite
from tests.compare.runs import run

WATCH = """<script>
window.seen = { errors: [], violations: [] };
for (const kind of ["error", "warn"]) { console[kind] = (...all) => window.seen.errors.push(all.join(" ")); }
window.addEventListener("error", (event) => window.seen.errors.push(event.message));
window.addEventListener("unhandledrejection", (event) => window.seen.errors.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => window.seen.violations.push(event.blockedURI));
</script>"""

ACT = """<script>
const table = document.querySelector("table.sortable");
const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
const column = (k) => rows().map((row) => row.cells[k].textContent.trim());
const click = (k) => table.tHead.rows[0].cells[k].querySelector("button").click();
const seen = window.seen;
seen.written = column(0);
click(1); seen.up = column(1); seen.sorted = table.tHead.rows[0].cells[1].getAttribute("aria-sort");
click(1); seen.down = column(1);
click(0); seen.names = column(0);
const box = document.querySelector("input[data-filter]");
box.value = "ROTATION"; box.dispatchEvent(new Event("input")); seen.filtered = column(0);
box.value = ""; box.dispatchEvent(new Event("input")); seen.all = column(0).length;
seen.plots = document.querySelectorAll(".plot").length;
seen.drawn = document.querySelectorAll(".plot svg.main-svg").length > 0 &&
  [...document.querySelectorAll(".plot")].every((one) => one.querySelector("svg.main-svg"));
const names = performance.getEntriesByType("resource").map((entry) => entry.name);
seen.requests = names.filter((name) => !name.startsWith("data:"));
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const left = document.createElement("pre"); left.id = "seen"; left.textContent = JSON.stringify(seen);
document.body.append(left);
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set and there is no chromium")
        pytest.skip("no chromium here: apt-get install chromium; .ci/run does, and demands it")
    return found


@pytest.fixture
def report(suite: Suite, tmp_path: Path) -> Path:
    """Of runs that nobody ran, two metrics, with one that diverged."""
    suite = Suite.model_validate({**dict(suite), "metrics": {"accuracy": "max", "loss": "min"}})
    scores = {"slow": 5.0, "sum": 60.0, "GH++ rotation": 71.5, "fixed 0.5 / 1.5": 104.0}
    runs = [
        run(suite, label, seed, value + seed + 0.1 * k * seed, curve=[50.0, value], status="ok" if seed else status)
        for k, (label, value) in enumerate(scores.items())
        for seed in range(3)
        for status in ["diverged" if label == "fixed 0.5 / 1.5" else "ok"]
    ]
    found = Results(suite, tuple(runs), 0, with_verdicts(suite, rows(suite, runs), runs))
    page = render(found)
    assert page.count("<head>") == page.count("</body>\n</html>") == 1
    path = tmp_path / "report.html"
    path.write_text(page.replace("<head>", "<head>" + WATCH).replace("</body>\n</html>", ACT + "</body>\n</html>"))
    return path


def seen(chromium: str, page: Path, profile: Path, *options: str) -> dict[str, Any]:
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=10000", *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (left,) = re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    found: dict[str, Any] = json.loads(html.unescape(left))
    return found


@pytest.mark.parametrize("size", ["1280,1000", "500,900"])
def test_a_reader_sorts_and_filters_and_nothing_leaves_the_page(
    chromium: str, report: Path, tmp_path: Path, size: str
) -> None:
    found = seen(chromium, report, tmp_path / "profile", f"--window-size={size}")
    assert found["errors"] == []
    assert found["violations"] == []
    assert found["requests"] == []
    assert found["plots"] >= 4
    assert found["drawn"]
    assert found["wide"] <= 0, "the page itself never scrolls sideways"
    numbers = [float(text.split()[0]) for text in found["up"]]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 100 > 10 > numbers[0], "sorted as numbers, not as text"
    assert found["sorted"] == "ascending"
    assert [float(text.split()[0]) for text in found["down"]] == numbers[::-1]
    assert found["names"] == sorted(found["names"], key=str.lower)
    assert found["filtered"] == [name for name in found["names"] if "rotation" in name]
    assert found["all"] == len(found["written"])


def test_the_page_says_that_nothing_may_leave_it_and_names_nothing_outside(report: Path) -> None:
    page = report.read_text()
    assert "default-src 'none'" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)  # the drawing library names its licences and maps
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", own)
