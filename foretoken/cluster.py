"""``foretoken train --dask``: one fleet's models, trained by the workers of a Dask cluster.

The trace is shared out by stretches of rows, dealt to the workers in turn, so that each has
of every time; they read the files themselves. Here is only what they must agree on, which
is small, and the evaluation, on the newest rows. A cluster is trusted: Dask's processes
send each other pickled Python.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from collectors.trace_batches import STRETCH_ROWS, Stretch, TraceBatches, stretches
from foretoken import cluster_work as work
from foretoken.errors import ClusterUnusable, ExtraMissing
from predictor import TrainingRefused, TrainingSettings
from predictor.binned import MODELS, Basis
from predictor.settings import PhysicsSettings
from predictor.streaming import TAIL_ROWS, Limits, Streamed, evaluate_tail, trained
from predictor.survey import SAMPLED_ROWS, Seen
from predictor.table import Table
from predictor.training import fit_physics, require_labels

_CONNECT_S: Final = 10.0
_LOOK_S: Final = 1.0  # how often it is seen whether all workers are still there
_NETWORK_MINUTES: Final = 1
"""How long a worker waits for the others to come."""
_STRETCHES_EACH: Final = 8
"""Stretches a worker has at least, where the trace is long enough: shares are then alike."""

Made = TypeVar("Made")


@contextmanager
def cluster(address: str) -> Iterator["Cluster"]:
    """Connect with a cluster while the context lasts.

    Raises:
        ExtraMissing: Dask is not installed here.
        ClusterUnusable: Nobody answers, or its workers cannot train with us.
    """
    try:
        from distributed import Client  # noqa: PLC0415  # it takes a second
    except ImportError as error:
        raise ExtraMissing("a cluster needs more: pip install 'foretoken[dask]'") from error
    connect: Any = Client  # Any: Dask's types are not exact
    try:
        client = connect(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterUnusable(f"no Dask scheduler answers at {address}") from error
    try:
        yield Cluster(client, address)
    finally:
        client.close()


class Cluster:
    """Train on the workers that a cluster has now.

    Raises:
        ClusterUnusable: It has none, or they have other versions.
    """

    # Any: Dask ships no types.
    def __init__(self, client: Any, address: str) -> None:  # noqa: ANN401
        self._client = client
        self._address = address
        self.workers = sorted(client.nthreads())
        if not self.workers:
            raise ClusterUnusable(f"the cluster at {address} has no workers")
        ours = work.facts()
        for worker, theirs in self._everyone(work.facts).items():
            differ = [what for what in ours if theirs.get(what) != ours[what]]
            if differ:
                has = ", ".join(f"{what} {theirs.get(what)}" for what in differ)
                here = ", ".join(f"{what} {ours[what]}" for what in differ)
                raise ClusterUnusable(f"worker {worker} has {has}; here is {here}")

    def check_files(self, batches: TraceBatches) -> None:
        """See that every worker sees the very files that are seen here.

        Raises:
            ClusterUnusable: One does not.
        """
        paths = [str(file.path.resolve()) for file in batches.files]
        self.check_sizes(paths, work.sizes(paths))

    def check_sizes(self, paths: Sequence[str], ours: Sequence[int | None]) -> None:
        """See that files have sizes on every worker.

        Raises:
            ClusterUnusable: One has another.
        """
        for worker, theirs in self._everyone(work.sizes, paths).items():
            for path, size, other in zip(paths, ours, theirs, strict=True):
                if size != other:
                    what = "does not see" if other is None else "sees another file at"
                    raise ClusterUnusable(
                        f"worker {worker} {what} {path}: the trace must be shared"
                    )

    def train(
        self,
        batches: TraceBatches,
        fleet: str,
        *,
        settings: TrainingSettings,
        physics: PhysicsSettings,
        limits: Limits,
    ) -> Streamed:
        """Train one fleet's models.

        Args:
            batches: The traces.
            fleet: Whose rows.
            settings: Sizes of the models.
            physics: How the prior under the trees is fitted.
            limits: What each worker, and this process, may hold.

        Raises:
            TrainingRefused: No target has enough labels.
            ClusterUnusable: A worker went away or failed.
        """
        files = [replace(file, path=file.path.resolve()) for file in batches.files]
        rows = sum(sum(file.group_rows) for file in files)
        least = max(1, rows // (_STRETCHES_EACH * len(self.workers)))
        found = stretches(files, min(least, STRETCH_ROWS))
        shares = self._shares(found, fleet)
        looks = self._each(
            work.look,
            [(share,) for share in shares],
            newest_rows=physics.window_rows,
            sampled_rows=SAMPLED_ROWS // len(shares),
        )
        kept = [(share, one) for share, one in zip(shares, looks, strict=True) if one.rows]
        seen = Seen.joined([one for _, one in kept], newest_rows=physics.window_rows)
        require_labels(seen.counts, settings)
        evaluation = evaluate_tail(_tail(batches, found, fleet), seen.rows, settings, physics)
        basis = Basis(seen=seen, fit=fit_physics(seen.newest, physics), shares=len(kept))
        networks = self._networks(len(kept))
        made = self._each(
            work.train,
            [
                (share, one.rows, replace(basis, network=network))
                for (share, one), network in zip(kept, networks, strict=True)
            ],
            most_rows=limits.most_rows,
            settings=settings,
        )
        model = trained(seen, basis.fit, made[0][0], evaluation)
        return Streamed(model=model, rows=seen.rows, used_rows=sum(used for _, used in made))

    def _shares(self, found: Sequence[Stretch], fleet: str) -> list[work.Share]:
        """Deal stretches to the workers in turn; a short trace may leave some without."""
        dealt = [tuple(found[place :: len(self.workers)]) for place in range(len(self.workers))]
        return [work.Share(fleet=fleet, stretches=some) for some in dealt if some]

    def _networks(self, count: int) -> list[tuple[dict[str, object], ...]]:
        """Give each worker LightGBM's word for the others: every model has ports of its own."""
        if count == 1:
            return [()]
        workers = self.workers[:count]
        ports = self._everyone(work.free_ports, len(MODELS))
        hosts = [urlsplit(worker).hostname for worker in workers]
        machines = [
            ",".join(
                f"{host}:{ports[one][model]}" for host, one in zip(hosts, workers, strict=True)
            )
            for model in range(len(MODELS))
        ]
        return [
            tuple(
                {
                    "tree_learner": "data",
                    "machines": machines[model],
                    "local_listen_port": ports[worker][model],
                    "num_machines": count,
                    "time_out": _NETWORK_MINUTES,
                }
                for model in range(len(MODELS))
            )
            for worker in workers
        ]

    def _everyone(self, call: Callable[..., Made], *given: object) -> dict[str, Made]:
        """Call something on every worker.

        Raises:
            ClusterUnusable: It failed there; mostly Foretoken is not installed.
        """
        with self._failures():
            found: dict[str, Made] = self._client.run(call, *given, workers=self.workers)
            return found

    def _each(
        self, call: Callable[..., Made], given: Sequence[tuple[object, ...]], **same: object
    ) -> list[Made]:
        """Call something on as many workers as there are arguments, all at once.

        Raises:
            ClusterUnusable: It failed, or a worker went away.
        """
        from distributed import wait  # noqa: PLC0415  # as above

        await_them: Any = wait  # Any: as above
        workers = self.workers[: len(given)]
        with self._failures():
            futures = [
                self._client.submit(call, *one, **same, workers=[worker], pure=False, retries=0)
                for worker, one in zip(workers, given, strict=True)
            ]
            try:
                while pending := [future for future in futures if not future.done()]:
                    self._see_all_there(workers)
                    if any(future.status == "error" for future in futures):
                        break  # the others would wait for it
                    with suppress(TimeoutError), self._client.as_current():
                        await_them(pending, timeout=_LOOK_S)
                failed = [future for future in futures if future.status == "error"]
                made: list[Made] = self._client.gather(failed or futures)
                return made
            finally:
                self._client.cancel(futures, force=True)

    def _see_all_there(self, workers: Sequence[str]) -> None:
        there = self._client.nthreads()
        gone = [worker for worker in workers if worker not in there]
        if gone:
            raise ClusterUnusable(f"worker {gone[0]} went away")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Say in one line what failed on a worker."""
        try:
            yield
        except (ClusterUnusable, TrainingRefused):
            raise
        except Exception as error:  # whatever work raises on a worker is raised here
            if isinstance(error, ModuleNotFoundError):
                what = f"its workers lack {error.name}: install Foretoken there"
            else:
                what = " ".join(f"{type(error).__name__}: {error}".split())
            raise ClusterUnusable(f"the cluster at {self._address} failed: {what}") from error


def _tail(batches: TraceBatches, found: Sequence[Stretch], fleet: str) -> Table:
    """Read the newest rows, to evaluate on."""
    newest, rows = list[Stretch](), 0
    for stretch in reversed(found):
        newest.insert(0, stretch)
        rows += stretch.rows
        if rows >= TAIL_ROWS:
            break
    tables = list(batches.only(newest).tables(fleet))
    return Table.joined(tables) if tables else Table.of([])
