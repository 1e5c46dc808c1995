"""``foretoken traces``: recorded traffic, looked at and made ready to be simulated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from foretoken.amounts import count, seconds
from foretoken.cli_options import AsJson
from foretoken.terminal import plain

if TYPE_CHECKING:
    from foretoken.trace_summary import TraceSummary

traces_app = typer.Typer(
    help="""Look at recorded traffic, and make it ready to be simulated.

    Traces of ours hold counts, hashes and times, never text: docs/traces.md.

    Example:
      foretoken traces show data/traces
      foretoken traces import azure AzureLLMInferenceTrace_conv.csv
    """,
    no_args_is_help=True,
)

Kind = Literal["agentic", "azure", "canonical", "csv", "jsonl", "lmcache", "mooncake", "parquet"]


@traces_app.command("show")
def show_traces(
    paths: Annotated[list[Path], typer.Argument(help="Trace files of ours, or folders of them.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say what recorded traces hold: when, whose, where, how it ended.

    Exit status 1: a file could not be read; it is named.

    Example:
      foretoken traces show data/traces
      foretoken traces show data/traces --json
    """
    from foretoken.errors import ForetokenError
    from foretoken.terminal import print_json, say_error
    from foretoken.trace_absence import absence
    from foretoken.trace_summary import summarise

    for path in paths:
        if not path.exists():
            raise ForetokenError(f"{path} does not exist")
    with _working("reading traces") as progress:
        summary = summarise(paths, progress=lambda rows: progress(f"reading traces: {rows} rows"))
    if as_json:
        print_json(summary.as_json())
    else:
        _print_summary(summary)
        for problem in summary.problems:
            say_error(f"skipped {problem.path}: {problem.reason}")
        if (nothing := absence(paths)) is not None:
            say_error(nothing)
    raise typer.Exit(1 if summary.problems else 0)


@traces_app.command("import")
def import_trace(
    kind: Annotated[Kind, typer.Argument(help="Format of the trace; parquet is our own.")],
    path: Annotated[Path, typer.Argument(help="Trace file; for parquet, a folder too.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. (default: the trace's name here, .trace.jsonl.gz)"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trace into the form that workloads of kind "replay" read.

    foretoken simulate --workload takes the file as it is.

    Example:
      foretoken traces import azure AzureLLMInferenceTrace_conv.csv
      foretoken traces import parquet data/traces --out mine.trace.jsonl.gz
    """
    from foretoken.errors import ForetokenError
    from foretoken.output_file import write_whole
    from foretoken.terminal import print_json
    from simulator.errors import SimulatorError
    from simulator.workloads import canonical_bytes, read_trace

    target = Path(f"{path.name.split('.')[0]}.trace.jsonl.gz") if out is None else out
    try:
        with _working(f"reading {path.name}") as progress:
            if kind == "parquet":
                from foretoken.parquet_trace import read_parquet

                trace = read_parquet(path)
            else:
                trace = read_trace(kind, path)
            progress(f"writing {target.name}: {len(trace.requests)} requests")
            write_whole(target, canonical_bytes(trace, packed=target.suffix == ".gz"))
    except SimulatorError as error:
        raise ForetokenError(str(error)) from error
    requests = trace.requests
    prompt = sum(request.prompt_tokens for request in requests) / len(requests)
    output = sum(request.output_tokens for request in requests) / len(requests)
    if as_json:
        print_json(
            {
                "path": str(target),
                "requests": len(requests),
                "loop": trace.loop,
                "mean_prompt_tokens": prompt,
                "mean_output_tokens": output,
            }
        )
        return
    typer.echo(
        f"{target}: {len(requests)} requests, {trace.loop} loop, on average "
        f"{prompt:,.0f} tokens in and {output:,.0f} out"
    )


@contextmanager
def _working(text: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that work goes on; how much is left is not known before its end."""
    console = Console(stderr=True)
    with console.status(text) as status:
        yield status.update


def _print_summary(summary: "TraceSummary") -> None:
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("requests", f"{summary.requests:,}")
    if summary.first_at_s is not None and summary.last_at_s is not None:
        first = datetime.fromtimestamp(summary.first_at_s, tz=UTC)
        lasted_s = summary.last_at_s - summary.first_at_s
        table.add_row("from", f"{first:%Y-%m-%d %H:%M:%S} UTC, for {lasted_s:,.0f} s")
    for name, counts in (
        ("models", summary.models),
        ("endpoints", summary.endpoints),
        ("outcomes", summary.outcomes),
        ("reasons", summary.reasons),
    ):
        told = ", ".join(f"{plain(key)} {number:,}" for key, number in counts.most_common())
        table.add_row(name, told or "none")
    for name, value in summary.medians.items():
        shown = seconds(value) if name.endswith("_s") else count(value)
        table.add_row(f"median {name.removesuffix('_s')}", shown)
    Console().print(table)
