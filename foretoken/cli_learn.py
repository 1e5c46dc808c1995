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
    memory: Annotated[
        float,
        typer.Option(help="GiB it may take; of rows beyond, older ones are thinned.", min=2.5),
    ] = 4.0,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Train on this Dask cluster, as tcp://10.0.0.1:8786, whose workers see the files"
            " and are trusted; --memory is each one's."
        ),
    ] = None,
    json_path: JsonPath = None,
) -> None:
    """Train models from recorded traces, evaluate in arrival order, publish.

    Traces may be larger than memory: they are read a stretch of rows at a time.

    Exit status 1: a file was skipped, or there is too little to train on.

    Example:
      foretoken train data/traces --store data/models
      foretoken train /mnt/traces --store s3://bucket/models --dask tcp://10.0.0.1:8786
    """
    from foretoken.offline import Offline, train_offline

    how = Offline(store=store, json_path=json_path, memory_gib=memory, dask=dask)
    raise typer.Exit(train_offline(traces, how))
