"""A router and two endpoints as real processes, for one fault after the other."""

from collections.abc import AsyncIterator

import pytest

from benchmarks.storm.place import Place, placed


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def place(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Place]:
    """The place of a storm with one router; its clients are at work."""
    folder = tmp_path_factory.mktemp("storm")
    async with placed(folder, routers=1, workers=1, rate=8, seed=1, share=False) as scene:
        await scene.load_begins("test")
        yield scene
