import asyncio

import pytest

from collectors.beat import beat, until_next


class Loop(asyncio.SelectorEventLoop):
    """An event loop at an instant of one's choice."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


def waits(interval_s: float, *instants_s: float, phase_s: float = 0.0) -> list[float]:
    """Give until when ``until_next`` would wait at some instants."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        found = []
        for loop.now_s in instants_s:
            wait_s = until_next(interval_s, phase_s=phase_s)
            assert 0.0 < wait_s <= interval_s
            found.append(round(loop.now_s + wait_s, 6))
        loop.now_s = instants_s[0]
        return found

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main())


def test_whoever_asks_when_all_meet_at_the_same_instants() -> None:
    fast = set(waits(0.2, *(1000.0 + number * 0.03 for number in range(100))))
    slow = set(waits(1.0, *(1000.0 + number * 0.11 for number in range(20))))

    assert len(fast) in {15, 16, 17}
    assert slow <= fast


def test_a_phase_puts_them_apart() -> None:
    (plain,) = waits(0.2, 1000.0)
    (later,) = waits(0.2, plain - 0.1, phase_s=0.05)

    assert later == pytest.approx(plain - 0.15 + 0.2)


def test_at_a_beat_the_next_one_is_a_whole_interval_away() -> None:
    (at_s,) = waits(0.2, 1000.0)

    early, exactly, late = waits(0.2, at_s - 1e-4, at_s, at_s + 1e-4)

    assert early == pytest.approx(at_s - 1e-4 + 0.2)
    assert exactly == pytest.approx(at_s + 0.2)
    assert late == pytest.approx(at_s + 1e-4 + 0.2)


def test_one_that_is_late_waits_for_what_it_was_told_to() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        await beat(0.02)
        began_s = loop.time()
        await beat(0.02, least_s=0.05)
        return began_s, loop.time()

    began_s, ended_s = asyncio.run(main())

    assert ended_s - began_s >= 0.05 - 1e-3
