"""``foretoken train``: the command."""

from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli_options import JsonPath


def train(
    traces: Annotated[list[Path], typer.Argument(help="Trace files or folders of them.")],
    *,
    store: Annotated[
        str, typer.Option(help="Folder of model versions, or URL as s3://bucket/models.")
    ],
    json_path: JsonPath = None,
) -> None:
    """Train models from recorded traces, evaluate in arrival order, publish.

    Exit status 1: a file was skipped, or there is too little to train on.

    Example:
      foretoken train data/traces --store data/models
      foretoken train data/traces --store data/models --json -
    """
    from foretoken.offline import train_offline

    raise typer.Exit(train_offline(traces, store, json_path))
