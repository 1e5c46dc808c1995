import pytest

from collectors.event_form import EventForm

CHAT = b'ab\r\ndata: {"choices":[{"delta":{"content":"%b"},"finish_reason":null}]}\n\n\r\n'
START = 4


def learned(data: bytes = CHAT % b"one") -> EventForm:
    form = EventForm()
    form.learn(data, START)
    return form


@pytest.mark.parametrize(
    "text", [b"", b" two", b"\xc3\xa9", b"\\n", b'\\"', b"\\\\", b"usage", b"x" * 64]
)
def test_another_text_fits(text: bytes) -> None:
    assert learned().fits(CHAT % text, START)


@pytest.mark.parametrize(
    "text",
    [b'"', b'"},"usage":{"a":"', b"\n", b"\n\ndata: [DONE]\n\n", b"a\\", b"\\\\\\", b"x" * 65],
)
def test_what_could_end_the_text_does_not_fit(text: bytes) -> None:
    assert not learned().fits(CHAT % text, START)


@pytest.mark.parametrize(
    "other",
    [
        (CHAT % b"one").replace(b"null", b'"stop"'),
        (CHAT % b"one").replace(b"delta", b"other"),
        CHAT % b"one" + b"x",
        (CHAT % b"one")[:-1],
        b"",
    ],
)
def test_other_events_do_not_fit(other: bytes) -> None:
    assert not learned().fits(other, START)


@pytest.mark.parametrize("key", [b"text", b"reasoning", b"reasoning_content", b"arguments"])
def test_texts_have_several_names(key: bytes) -> None:
    event = CHAT.replace(b"content", key)

    assert learned(event % b"one").fits(event % b"two", START)


def test_a_form_is_learned_anew_and_not_for_ever() -> None:
    form = learned()
    stamped = [CHAT.replace(b"ab", b"cd").replace(b"{", b'{"n":%d,' % n, 1) for n in range(9)]

    for event in stamped[:3]:
        form.learn(event % b"one", START)
        assert form.fits(event % b"two", START)
    for event in stamped[3:]:  # each once
        form.learn(event % b"one", START)

    assert form.fits(stamped[6] % b"two", START)
    assert not form.fits(stamped[8] % b"two", START)


def test_an_event_without_a_text_is_learned_of_nothing() -> None:
    assert not learned(b'ab\r\ndata: {"choices":[]}\n\n\r\n').fits(CHAT % b"one", START)
