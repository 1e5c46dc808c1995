"""The live page in a real Chromium, in front of a service that is none."""

import asyncio
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from predictor.types import EndpointState
from predictor.values import replace
from proxy.control import ControlSettings, build_control
from proxy.history import History
from scheduler import Standing, TierSettings
from tests.proxy.control.chromium import Page, chromium, needs_chromium
from tests.proxy.control.fakes import MODEL, FakePlane, busy_plane, fleet, record

pytestmark = needs_chromium

AXE = "axe-core@4.14.1"  # MPL-2.0; fetched for this test alone, and no part of what is shipped
FOLDER = Path(__file__).parents[3] / ".work" / "axe"
HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
ROWS = "document.querySelectorAll('#decisions button.open').length"
LIVE = "document.getElementById('connection').textContent.startsWith('live')"
BANNER = "document.getElementById('banner')"
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
FLEET = "[...document.querySelectorAll('#fleet > tr > th')].map((th) => th.textContent)"


def coloured(box: str) -> str:
    """Count the pixels of a chart that are of a colour."""
    return f"""(() => {{
      const canvas = document.querySelector('#{box} canvas');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      let found = 0;
      for (let i = 0; i < data.length; i += 4) {{
        const colours = data.slice(i, i + 3);
        if (data[i + 3] && Math.max(...colours) - Math.min(...colours) > 90) found += 1;
      }}
      return found;
    }})()"""


EMPTY_SHARE = """(() => {
  const canvas = document.querySelector('#ttft canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let empty = 0;
  for (let x = 0; x < canvas.width; x += 1) {
    let drawn = false;
    for (let y = 0; y < canvas.height && !drawn; y += 1) {
      const i = 4 * (y * canvas.width + x);
      const colours = data.slice(i, i + 3);
      drawn = data[i + 3] && Math.max(...colours) - Math.min(...colours) > 90;
    }
    if (!drawn) empty += 1;
  }
  return empty / canvas.width;
})()"""


def live_plane() -> FakePlane:
    plane = busy_plane(clock=time.monotonic)
    plane.epoch_s = time.time() - time.monotonic()
    return plane


def large_plane(endpoints: int) -> FakePlane:
    plane = live_plane()
    for number in range(endpoints - len(plane.states)):
        name = f"10.1.{number // 16}.{number % 16}:8000"
        plane.states[name] = EndpointState(
            endpoint=name, url=f"http://{name}", model=MODEL, hardware="L40S", up=True,
            running_requests=float(number), scraped_s=plane.now() + 3600,
        )  # fmt: skip
    return plane


@contextmanager
def serving(plane: FakePlane, *, port: int = 0, pages: int = 8) -> Iterator[int]:
    """Serve the control plane of ``plane`` on loopback; gives the port."""
    loop = asyncio.new_event_loop()
    settings = ControlSettings(snapshot_interval_s=0.2, max_pages=pages)
    app = build_control(plane, closing=plane.closing, settings=settings)
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)

    def stop() -> None:
        plane.closing.set()
        server.should_exit = True

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(
            target=loop.run_until_complete, args=(server.serve(sockets=[listener]),)
        )
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            loop.call_soon_threadsafe(stop)
            thread.join(timeout=30)
            loop.close()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    tab.show(width=1440, height=900, scheme="light")
    yield tab
    tab.forget()


def visit(page: Page, port: int, *, until: str = f"{ROWS} > 10 && {LIVE}") -> None:
    page.open(f"http://127.0.0.1:{port}/foretoken/")
    page.wait_for(until)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (820, "light"), (390, "light")])
def test_the_page_shows_the_data_without_a_problem(page: Page, width: int, scheme: str) -> None:
    page.show(width=width, height=1200, scheme=scheme)

    with serving(live_plane()) as port:
        visit(page, port)
        for chart in ("ttft", "tpot", "ttft-points", "tpot-points"):
            page.wait_for(f"{coloured(chart)} > 150")
        text = page.value("document.body.innerText")
        overflow = page.value(OVERFLOW)

    for shown in (
        *("10.0.0.3:8000 is down.", "draining", "2 of 3 up"),
        *("20261121T103000-4f2a", "55 %", "median error", "A typical request: 1,020 prompt tokens"),
        *("TTFT 500 ms", "lowest predicted cost", "Nothing is compared yet."),
    ):
        assert shown in text
    assert overflow <= 0
    assert page.problems == []


def test_no_line_is_drawn_over_a_pause_without_requests(page: Page) -> None:
    """Half of the chart is the pause between five minutes of traffic and one request."""
    plane = live_plane()
    plane.history.add(record("r-late", finished_s=plane.now() + 300.0, ttft_s=0.2))

    with serving(plane) as port:
        visit(page, port)
        page.wait_for(f"{coloured('ttft')} > 150")
        empty = page.value(EMPTY_SHARE)

    assert empty > 0.4


def test_nothing_is_asked_of_another_host(page: Page) -> None:
    with serving(live_plane()) as port:
        visit(page, port)
        asked = page.requested.copy()

    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(f"http://127.0.0.1:{port}/")] == []


def test_a_decision_opens_by_keyboard_and_closes_by_escape(page: Page) -> None:
    page.show(width=390, height=1200, scheme="light")

    with serving(live_plane()) as port:
        visit(page, port)
        page.value("document.querySelectorAll('button.open')[1].focus()")
        page.press("Enter", text="\r")
        page.wait_for("document.querySelectorAll('tr.detail table tbody tr').length === 2")
        detail = page.value("document.querySelector('tr.detail').innerText")
        link = page.value("document.querySelector('tr.detail a').getAttribute('href')")
        expanded = page.value("document.activeElement.getAttribute('aria-expanded')")
        overflow = page.value(OVERFLOW)
        page.press("Escape")
        page.wait_for("!document.querySelector('tr.detail')")
        focused = page.value("document.activeElement.getAttribute('aria-expanded')")

    for shown in ("predicted latency", "own", "others", "chosen", "10.0.0.2:8000"):
        assert shown in detail
    assert link.startswith("decisions/chatcmpl-")
    assert (expanded, focused) == ("true", "false")
    assert overflow <= 0
    assert page.problems == []


def test_names_that_are_markup_stay_text(page: Page) -> None:
    plane = live_plane()
    latest = plane.history.latest(2)[1]
    plane.history.add(
        replace(latest, request=replace(latest.request, request_id=HOSTILE, model=HOSTILE))
    )
    plane.states[HOSTILE] = EndpointState(
        endpoint=HOSTILE, url="http://h", model=HOSTILE, hardware=HOSTILE, up=True
    )
    plane.suspects[HOSTILE] = HOSTILE
    plane.tiers = {"standard": TierSettings(), HOSTILE: TierSettings()}
    hostile = fleet().model_copy(update={"model": HOSTILE, "version": HOSTILE, "problem": HOSTILE})
    plane.fleets = [fleet(), hostile]

    with serving(plane) as port:
        visit(page, port)
        page.value("document.querySelector('button.open').click()")
        page.wait_for("document.querySelector('tr.detail dd')")
        shown = page.value("document.querySelector('tr.detail dd').textContent")
        hurt = page.value("[window.hurt ?? null, document.querySelectorAll('#content img').length]")
        scripts = page.value("document.querySelectorAll('#content script').length")
        text = page.value("document.getElementById('content').textContent")

    assert shown == HOSTILE
    assert (hurt, scripts) == ([None, 0], 0)
    assert text.count(HOSTILE) >= 6
    assert page.problems == []


def test_the_page_says_when_its_data_is_old_and_comes_back_after_a_restart(page: Page) -> None:
    with serving(live_plane()) as port:
        visit(page, port)
    page.wait_for(f"!{BANNER}.hidden && document.body.classList.contains('stale')")
    text = page.value(f"{BANNER}.textContent")
    with serving(live_plane(), port=port):
        page.wait_for(f"{LIVE} && {BANNER}.hidden && !document.body.classList.contains('stale')")

    assert re.match(r"No data since \d\d:\d\d:\d\d: what you see is old\. Trying again\.", text)


def test_a_page_too_many_says_what_the_router_told_it(page: Page) -> None:
    with serving(live_plane(), pages=1) as port, held_open(port):
        page.open(f"http://127.0.0.1:{port}/foretoken/")
        page.wait_for(f"!{BANNER}.hidden")
        text = page.value(f"{BANNER}.textContent")

    assert "as many live pages are open as control.max_pages allows (1)" in text


def test_a_large_fleet_is_filtered_and_sorted(page: Page) -> None:
    with serving(large_plane(100)) as port:
        visit(page, port)
        first = page.value(f"{FLEET}[0]")
        page.value(
            "const box = document.getElementById('filter'); box.value = 'l40s';"
            "box.dispatchEvent(new Event('input'))"
        )
        filtered = page.value(f"{FLEET}.length")
        running = (
            "[...document.querySelectorAll('button.sort')].find((b) => b.textContent === 'Running')"
        )
        page.value(f"{running}.click()")
        page.value(f"{running}.click()")
        highest = page.value(f"{FLEET}[0]")
        sort = page.value(f"{running}.closest('th').getAttribute('aria-sort')")
        inner = page.value("document.querySelector('.tall').clientHeight")
        note = page.value("document.getElementById('typical').textContent")

    assert first == "10.0.0.3:8000"  # what is down comes first
    assert filtered == 97
    assert (highest, sort) == ("10.1.6.0:8000", "descending")
    assert inner <= 520
    assert note.startswith("97 of 100 shown.")
    assert page.problems == []


def test_who_waits_is_told_in_the_verdict(page: Page) -> None:
    plane = live_plane()
    del plane.states["10.0.0.3:8000"]
    for tenant in ("a", "b"):
        since_s = plane.now() - 7.0
        plane.queue.append(Standing(MODEL, None, "endpoints_full", since_s, tenant))

    with serving(plane) as port:
        visit(page, port)
        verdict = page.value("document.getElementById('verdict-text').textContent")
        facts = page.value("document.getElementById('facts').innerText")

    assert re.fullmatch(r"2 requests wait here, the oldest for [789]\.\d\d s\.", verdict)
    assert "2 tenants, oldest" in facts


def test_without_a_request_it_says_where_to_send_one(page: Page) -> None:
    plane = live_plane()
    plane.history = History()
    del plane.states["10.0.0.3:8000"]

    with serving(plane) as port:
        visit(page, port, until=LIVE)
        verdict = page.value("document.getElementById('verdict-text').textContent")
        empty = page.value("document.getElementById('decisions-empty').innerText")

    assert verdict == "Ready. No requests yet."
    assert f"http://127.0.0.1:{port}/v1" in empty
    assert page.problems == []


def test_the_chosen_theme_is_kept(page: Page) -> None:
    with serving(live_plane()) as port:
        visit(page, port)
        light = page.value("getComputedStyle(document.body).backgroundColor")
        for _ in range(2):  # automatic, light, dark
            page.value("document.getElementById('theme').click()")
        visit(page, port)
        dark = page.value("getComputedStyle(document.body).backgroundColor")
        label = page.value("document.getElementById('theme').textContent")

    assert light != dark
    assert label == "Theme: dark"


@pytest.fixture(scope="module")
def axe() -> str:
    script = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if not script.exists() and npm is None:
        pytest.skip("npm is not installed, which fetches axe-core")
    if not script.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-save")
        command = [str(npm), "install", "--prefix", str(FOLDER), *options, AXE]
        if subprocess.run(command, capture_output=True, timeout=90, check=False).returncode:
            pytest.skip("axe-core could not be fetched from npm")
    return script.read_text()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light")])
def test_axe_finds_no_fault(page: Page, axe: str, width: int, scheme: str) -> None:
    page.show(width=width, height=1200, scheme=scheme)

    with serving(large_plane(12)) as port:
        visit(page, port)
        page.value("document.querySelectorAll('button.open')[1].click()")
        page.wait_for("document.querySelector('tr.detail table')")
        page.value(f"{axe}; undefined")
        found = page.value(
            "axe.run().then((found) => found.violations.map((v) => `${v.id}: ${v.nodes.length} "
            "${v.nodes[0].html} ${v.nodes[0].failureSummary}`))"
        )

    assert found == []


@contextmanager
def held_open(port: int) -> Iterator[None]:
    """Be a page that is open already."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /foretoken/events HTTP/1.1\r\nhost: here\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
        yield
