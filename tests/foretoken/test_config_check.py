"""``foretoken check-config``: every mistake at once, with its line and what was meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from foretoken.cli import run
from foretoken.config_check import check
from foretoken.toml_lines import key_lines, line_of


def write(folder: Path, text: str) -> Path:
    path = folder / "foretoken.toml"
    path.write_text(text)
    return path


def told(path: Path) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.text) for problem in check(path).problems]


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("[proxy]\nport = 70000", 2, "proxy.port = 70000: must be less than or equal to 65535"),
        ("[scheduler]\nmax_atempts = 1", 2, "unknown setting; did you mean max_attempts?"),
        ("[proxi]\nport = 1", 1, "proxi: unknown setting; did you mean proxy?"),
        ("port = 1", 1, "port: unknown setting; did you mean proxy.port?"),
        ("[scheduler]\npolicy = 'lmetrik'", 2, "did you mean lmetric? there are: bounded_load"),
        ("[scheduler.policy]\nkind = 'weighted_blnd'", 1, "did you mean weighted_blend?"),
        ("[scheduler.policy]\nkind = 'weighted_blend'\nprefix_wieght = 1", 3,
         "scheduler.policy.prefix_wieght: unknown setting; did you mean prefix_weight?"),
        ("[scheduler.policy]\nload = 'x'", 1, "needs a kind"),
        ("[scheduler]\nmode = 'shadwo'", 2, "did you mean shadow?"),
        ("[scheduler]\nmax_wait_s = '5s'", 2, "must be a number of seconds, without a unit"),
        ("[scheduler.tiers.gold]\nttft_ms = 500", 2, "did you mean ttft_s?"),
        ("[endpoints]\nurl = 'http://a:1'", 1, "tables of it begin with [[endpoints]]"),
        ("proxy = 5", 1, "must be a table, as [proxy] begins one"),
        ("[[endpoints]]\nhardware = 'h100'", 1, "endpoints.0.url: required, and not there"),
        ("[[endpoints]]\nurl = 'http://a:1'\napi_key = 'sk-1'", 3, "did you mean api_key_env?"),
        ("[[endpoints]]\nurl = 'a:1'", 2, "endpoints.0.url = 'a:1': is not a base URL such as"),
        ("[scrape]\ninterval_s = 5", 2, "scheduler.stale_after_s = 2 must be more than twice"),
        ("[proxy]\nport = \nhost = 'x'", 2, "not valid TOML: Invalid value"),
        ("[proxy]\ntls_cert = 'c'\ntls_key = '/no/key'", 3, "proxy.tls_key = '/no/key': no such"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_what_was_meant(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    found = told(write(tmp_path, text))

    assert [at for at, said in found if expected in said] == [line], found
    assert all("\n" not in said and "sk-1" not in said for _, said in found)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[log]\nlevel = 'trace'\n[proxy]\nport = -1\nhots = 'x'\n")

    assert [line for line, _ in told(path)] == [2, 4, 5]


def test_a_file_of_an_editor_that_marks_its_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "foretoken.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 1\n")

    assert told(path) == []


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "foretoken.toml"
    path.write_bytes(b"seed = \xff\n")

    assert "not UTF-8 text" in told(path)[0][1]


def test_the_status_and_the_streams_tell_right_from_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = write(tmp_path, "[[endpoints]]\nurl = 'http://a:1'\n[proxy]\nport = 9000\n")

    assert run(["check-config", str(right)]) == 0
    said = capsys.readouterr()
    assert "valid" in said.out
    assert "proxy.port" in said.out
    assert said.err == ""

    wrong = write(tmp_path, "nonsense = 1\n")

    assert run(["check-config", str(wrong)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 thing is wrong" in said.err
    assert "line 1" in said.err


def test_json_has_every_setting_or_every_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["check-config", str(write(tmp_path, "seed = 3\n")), "--json"])
    right: dict[str, Any] = json.loads(capsys.readouterr().out)
    run(["check-config", str(write(tmp_path, "sead = 3\n")), "--json"])
    wrong: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert right["valid"]
    assert right["settings"]["seed"] == 3
    assert right["settings"]["proxy"]["port"] == 8000
    assert not wrong["valid"]
    assert wrong["problems"] == [
        {"path": "sead", "line": 1, "text": "sead: unknown setting; did you mean seed?"}
    ]


def test_lines_are_found_past_values_that_span_several() -> None:
    lines = key_lines(
        'a = """\n[b]\nc = 1\n"""\nd = [\n  "[x]", # ]\n  1,\n]\n'
        '[t."e.f"]\ng.h = 2\n[[i]]\n[[i]]\nj = 1\n'
    )

    assert ("b",) not in lines
    assert line_of(lines, ("d",)) == 5
    assert line_of(lines, ("t", "e.f", "g", "h")) == 10
    assert line_of(lines, ("i", 1, "j")) == 13
    assert line_of(lines, ("nowhere",)) is None
