import asyncio

import pytest

from collectors.in_step import in_step, until_next


class Loop(asyncio.SelectorEventLoop):
    """An event loop at an instant of one's choice."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


def times(
    interval_s: float, *instants_s: float, phase_s: float = 0.0, least_s: float = 0.0
) -> list[float]:
    """Give until when ``until_next`` would wait at some instants."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        found = []
        for loop.now_s in instants_s:
            wait_s = until_next(interval_s, phase_s=phase_s, least_s=least_s)
            assert wait_s > 0.0
            found.append(round(loop.now_s + wait_s, 6))
        loop.now_s = instants_s[0]
        return found

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main())


def test_whoever_asks_when_all_meet_at_the_same_instants() -> None:
    fast = set(times(0.2, *(1000.0 + number * 0.03 for number in range(100))))
    slow = set(times(1.0, *(1000.0 + number * 0.11 for number in range(20))))

    assert len(fast) in {15, 16}
    assert slow <= fast


def test_a_phase_puts_them_apart() -> None:
    (plain,) = times(0.2, 1000.0)
    (later,) = times(0.2, plain - 0.1, phase_s=0.05)

    assert later == pytest.approx(plain + 0.05)


def test_when_it_is_time_the_next_one_is_a_whole_interval_away() -> None:
    (at_s,) = times(0.2, 1000.0)

    assert times(0.2, at_s - 4e-4, at_s, at_s + 4e-4) == pytest.approx(
        [at_s - 4e-4 + 0.2, at_s + 0.2, at_s + 4e-4 + 0.2]
    )


def test_one_that_is_late_waits_for_what_it_was_told_to() -> None:
    (at_s,) = times(0.2, 1000.0)

    assert times(0.2, at_s - 0.15, at_s - 0.05, least_s=0.1) == pytest.approx([at_s, at_s + 0.05])


def test_waiting_is_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    asyncio.run(in_step(0.2, phase_s=0.05, least_s=7.0))

    assert slept == [7.0]
