"""``foretoken traces``: recorded traffic of many formats, made ready to be simulated."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from foretoken.errors import ForetokenError
from foretoken.output_file import write_whole

traces_app = typer.Typer(help="Make recorded traffic ready to be simulated.")

Kind = Literal["agentic", "azure", "canonical", "csv", "jsonl", "lmcache", "mooncake", "parquet"]


@traces_app.callback()
def _traces() -> None:
    """Make recorded traffic ready to be simulated."""


@traces_app.command("import")
def import_trace(
    kind: Annotated[Kind, typer.Argument(help="Format of the trace; parquet is our own.")],
    path: Annotated[Path, typer.Argument(help="Trace file; for parquet, a folder too.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. [default: the trace's name here, .trace.jsonl.gz]"),
    ] = None,
) -> None:
    """Turn a trace into the form that workloads of kind "replay" read.

    Example: foretoken traces import azure AzureLLMInferenceTrace_conv.csv
    """
    from simulator.errors import SimulatorError
    from simulator.workloads import canonical_bytes, read_trace

    target = Path(f"{path.name.split('.')[0]}.trace.jsonl.gz") if out is None else out
    try:
        if kind == "parquet":
            from foretoken.parquet_trace import read_parquet

            trace = read_parquet(path)
        else:
            trace = read_trace(kind, path)
    except SimulatorError as error:
        raise ForetokenError(str(error)) from error
    write_whole(target, canonical_bytes(trace, packed=target.suffix == ".gz"))
    requests = trace.requests
    prompt = sum(request.prompt_tokens for request in requests) / len(requests)
    output = sum(request.output_tokens for request in requests) / len(requests)
    typer.echo(
        f"{target}: {len(requests)} requests, {trace.loop} loop, on average "
        f"{prompt:,.0f} tokens in and {output:,.0f} out"
    )
