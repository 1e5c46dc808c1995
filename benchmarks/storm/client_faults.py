"""Faults of clients: many of them read slowly, many leave before the end."""

import asyncio
from typing import Final

from benchmarks.storm.fault import Fault, Scene
from benchmarks.storm.mix import Shares


async def slow_reads(scene: Scene) -> None:
    """Let a fifth of the chats be read so slowly that kernels' buffers fill."""
    await _misbehave(scene, slow=0.2)


async def leaving(scene: Scene) -> None:
    """Let half of the clients leave before the end."""
    await _misbehave(scene, leave=0.5)


async def _misbehave(scene: Scene, **shares: float) -> None:
    usual = Shares()
    scene.place.tell_clients(**shares)
    try:
        await asyncio.sleep(scene.hold_s)
    finally:
        scene.place.tell_clients(slow=usual.slow, leave=usual.leave)


FAULTS: Final = (
    Fault("clients read slowly", "clients", slow_reads),
    Fault("clients leave", "clients", leaving),
)
