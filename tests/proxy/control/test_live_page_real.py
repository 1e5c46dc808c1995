import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from msgspec.structs import replace

from predictor.types import RequestRecord
from proxy.control import ControlSettings, build_control
from tests.proxy.control.chromium import Page, chromium
from tests.proxy.control.fakes import FakePlane, busy_plane

pytestmark = pytest.mark.real

ROWS = "document.querySelectorAll('#decisions button.open').length"
CONNECTION = "document.getElementById('connection').textContent"
COLOURED_PIXELS = """(() => {
  const canvas = document.querySelector('#ttft canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let coloured = 0;
  for (let i = 0; i < data.length; i += 4) {
    const colours = data.slice(i, i + 3);
    if (data[i + 3] && Math.max(...colours) - Math.min(...colours) > 90) coloured += 1;
  }
  return coloured;
})()"""


def live_plane() -> FakePlane:
    plane = busy_plane(clock=time.monotonic)
    plane.epoch_s = time.time() - time.monotonic()
    return plane


@contextmanager
def serving(plane: FakePlane, *, port: int = 0) -> Iterator[int]:
    """Serve the control plane of ``plane`` on loopback; gives the port."""
    loop = asyncio.new_event_loop()
    settings = ControlSettings(snapshot_interval_s=0.2)
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


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as opened:
        yield opened


@pytest.mark.parametrize(
    ("width", "scheme"), [(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")]
)
def test_the_page_shows_the_data_without_a_problem(
    page: Page, tmp_path: Path, width: int, scheme: str
) -> None:
    page.show(width=width, height=1200, scheme=scheme)

    with serving(live_plane()) as port:
        page.open(f"http://127.0.0.1:{port}/foretoken/")
        page.wait_for(f"{ROWS} > 10 && {CONNECTION} === 'live'")
        page.wait_for(f"{COLOURED_PIXELS} > 200")
        text = page.value("document.body.innerText")
        overflow = page.value("document.documentElement.scrollWidth - innerWidth")
        page.screenshot(tmp_path / "page.png")

    for shown in ("10.0.0.1:8000", "draining", "down", "20261121T103000-4f2a", "ratio 55 %"):
        assert shown in text
    assert overflow <= 0
    assert page.problems == []


def test_a_decision_opens_with_its_candidates_and_terms(page: Page) -> None:
    page.show(width=390, height=1200, scheme="light")

    with serving(live_plane()) as port:
        page.open(f"http://127.0.0.1:{port}/foretoken/")
        page.wait_for(f"{ROWS} > 10")
        page.value("document.querySelectorAll('button.open')[1].click()")
        page.wait_for("document.querySelectorAll('tr.detail table tbody tr').length === 2")
        detail = page.value("document.querySelector('tr.detail').innerText")
        overflow = page.value("document.documentElement.scrollWidth - innerWidth")

    for shown in ("predicted latency", "own", "others", "→ 10.0.0."):
        assert shown in detail
    assert overflow <= 0
    assert page.problems == []


def test_markup_in_a_request_id_stays_text(page: Page) -> None:
    plane = live_plane()
    latest = plane.history.latest(2)[1]
    hostile = "<img src=x onerror=alert(1)>/../?#%00"
    plane.history.add(_renamed(latest, hostile))

    with serving(plane) as port:
        page.open(f"http://127.0.0.1:{port}/foretoken/")
        page.wait_for(f"{ROWS} > 10")
        page.value("document.querySelector('button.open').click()")
        page.wait_for("document.querySelector('tr.detail dd')")
        shown = page.value("document.querySelector('tr.detail dd').textContent")
        images = page.value("document.images.length")

    assert (shown, images) == (hostile, 0)
    assert page.problems == []


def test_the_page_says_when_its_data_is_old_and_comes_back_after_a_restart(page: Page) -> None:
    banner = "document.getElementById('banner')"

    with serving(live_plane()) as port:
        page.open(f"http://127.0.0.1:{port}/foretoken/")
        page.wait_for(f"{ROWS} > 10 && {CONNECTION} === 'live'")
    page.wait_for(f"{CONNECTION} === 'disconnected' && !{banner}.hidden")
    text = page.value(f"{banner}.textContent")
    with serving(live_plane(), port=port):
        page.wait_for(f"{CONNECTION} === 'live' && {banner}.hidden")

    assert "what you see is old" in text


def _renamed(record: RequestRecord, request_id: str) -> RequestRecord:
    return replace(record, request=replace(record.request, request_id=request_id))
