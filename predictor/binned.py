"""Rows of one fleet in LightGBM's bins of a byte each, and trees trained on them.

Holds some 120 bytes a row where a table takes 300 and its inputs as many again. Called by
:mod:`predictor.streaming` for all rows, and on each worker of a cluster for its share of
them, which is every so many-th stretch.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from predictor.boosted import KINDS, n_trees, parameters, tree_inputs
from predictor.errors import TrainingRefused
from predictor.physics import TARGETS, PhysicsFit
from predictor.settings import TrainingSettings
from predictor.survey import Seen
from predictor.table import Table
from predictor.training import decay, log_prior_of
from predictor.types import FloatArray

Rows = Callable[[], Iterator[Table]]
"""Gives the same rows, oldest first, each time it is called."""

TREE_ROWS: Final = 2_000_000
"""Rows drawn for a tree of 15 leaves, at most: more cost time and change no split."""
MODELS: Final = tuple((target, kind) for target in range(len(TARGETS)) for kind in KINDS)
"""Every model there can be, in the order they are trained."""

_FORGOTTEN: Final = 1e-6  # of a row's weight: a million of them would weigh one row
_NETWORK: Final = re.compile(
    r"^\[(?:machines|machine_list_filename|local_listen_port|num_machines|time_out): .*\]\n",
    re.MULTILINE,
)
_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Hold what everyone who trains on a share of the rows must agree on.

    Attributes:
        seen: What was seen of all rows.
        fit: The physics that the trees stand on.
        shares: Among how many they are shared out.
        network: LightGBM's parameters for the others, one set a model; empty where nobody
            else trains.
    """

    seen: Seen
    fit: PhysicsFit
    shares: int = 1
    network: tuple[Mapping[str, object], ...] = field(default=())


class Binned:
    """Hold rows in bins, and what is to be learned of each.

    Args:
        rows: Gives the rows.
        count: How many these are.
        basis: What is known of all.
        most_rows: So many are taken at most.

    Attributes:
        rows: How many were taken.

    Raises:
        TrainingRefused: There are fewer rows than there were.
    """

    def __init__(self, rows: Rows, count: int, basis: Basis, *, most_rows: int) -> None:
        taken = Thinning(count, most_rows)
        self.rows = taken.rows
        self._basis = basis
        self._log_target = np.empty((len(TARGETS), taken.rows), dtype=np.float32)
        self._log_ratio = np.empty_like(self._log_target)
        self._weight = np.empty_like(self._log_target)
        self._observed_s = np.empty(taken.rows)
        sample = basis.seen.sample
        bins = lightgbm.Dataset(
            tree_inputs(sample.features, log_prior_of(basis.fit, sample)),
            np.zeros(len(sample), dtype=np.float32),
            params=_dataset_options(),
        )
        inputs = self._inputs(taken.of(rows()), basis.fit)
        self._dataset: Any = lightgbm.Dataset(  # Any: LightGBM's own types are not exact
            _Pulled(inputs, taken.rows),
            np.zeros(taken.rows, dtype=np.float32),
            reference=bins,
            params=_dataset_options(),
        ).construct()

    def trees(self, settings: TrainingSettings) -> dict[str, str]:
        """Train the models that there are enough labels for, as LightGBM's text by name."""
        found = {}
        for place, (target, kind) in enumerate(MODELS):
            if self._basis.seen.counts[target] < settings.minimum_rows:
                continue
            network = self._basis.network[place] if self._basis.network else {}
            found[f"{TARGETS[target]}_{kind}"] = self._train(target, kind, network, settings)
        return found

    def _train(
        self, target: int, kind: str, network: Mapping[str, object], settings: TrainingSettings
    ) -> str:
        known = np.abs(self._log_ratio[target]) <= settings.believable_log
        label, weight, first = self._log_target[target], self._weight[target], 0
        if kind == "ratio":
            label, aged = self._log_ratio[target], self._aged(known, settings)
            first = int(np.argmax(aged >= _FORGOTTEN))
            weight = weight * aged
        dataset, known = self._from(first), known[first:]
        dataset.set_label(np.where(known, label[first:], np.float32(0.0)))
        dataset.set_weight(np.where(known, weight[first:], np.float32(0.0)))
        options = {**_dataset_options(), **parameters(kind, settings), **network}
        share = TREE_ROWS / (self._basis.shares * len(known))
        if share < 1.0:
            options |= {"bagging_fraction": share, "bagging_freq": 1}
        booster = lightgbm.train(options, dataset, n_trees(kind, settings))
        if network:
            booster.free_network()
        return without_network(str(booster.model_to_string()))

    def _aged(self, known: NDArray[np.bool_], settings: TrainingSettings) -> NDArray[np.float32]:
        aged = np.zeros(self.rows, dtype=np.float32)
        now, shares = self._basis.seen.last_s, self._basis.shares
        aged[known] = decay(self._observed_s[known], settings, now=now, shares=shares)
        return aged

    # Any: as above.
    def _from(self, first: int) -> Any:  # noqa: ANN401
        if first == 0:
            return self._dataset
        return self._dataset.subset(np.arange(first, self.rows)).construct()

    def _inputs(self, tables: Iterator[Table], fit: PhysicsFit) -> Iterator[FloatArray]:
        """Give the trees' inputs table by table, and keep what is to be learned of them."""
        start = 0
        for table in tables:
            log_prior, here = log_prior_of(fit, table), slice(start, start + len(table))
            self._log_target[:, here] = table.log_target
            self._log_ratio[:, here] = table.log_target - log_prior
            self._weight[:, here] = table.weight
            self._observed_s[here] = table.observed_s
            start += len(table)
            yield tree_inputs(table.features, log_prior)


class Thinning:
    """Choose at most so many of ``count`` rows: half of the bound the newest, others evenly.

    >>> thinning = Thinning(1000, 100)
    >>> thinning.rows, Thinning(50, 100).rows
    (100, 50)
    """

    def __init__(self, count: int, most: int) -> None:
        newest = count if count <= most else most // 2
        self._older = count - newest
        self._every = 1 if not self._older else -(-self._older // (most - newest))
        self.rows = newest + -(-self._older // self._every)

    def of(self, tables: Iterator[Table]) -> Iterator[Table]:
        """Give the chosen rows."""
        start = 0
        for table in tables:
            places = np.arange(start, start + len(table))
            start += len(table)
            if self._every == 1 or places[0] >= self._older:
                yield table
            else:
                yield table.only((places >= self._older) | (places % self._every == 0))


class _Pulled(lightgbm.Sequence):
    """Give LightGBM rows in the order it asks for them, once, from first to last."""

    batch_size = _BATCH_ROWS

    def __init__(self, inputs: Iterator[FloatArray], count: int) -> None:
        self._inputs = inputs
        self._count = count
        self._held: list[FloatArray] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._count

    # Any: LightGBM asks a sequence with a reference for slices alone.
    def __getitem__(self, asked: Any) -> FloatArray:  # noqa: ANN401
        """Give the next rows, whose numbers are a slice.

        Raises:
            TrainingRefused: There are fewer than at the first look.
        """
        wanted = asked.stop - asked.start
        while self._rows < wanted:
            table = next(self._inputs, None)
            if table is None:
                raise TrainingRefused("changed", "the traces changed while they were read")
            self._held.append(table)
            self._rows += len(table)
        joined = np.concatenate(self._held)
        self._held, self._rows = [joined[wanted:].copy()], self._rows - wanted
        return joined[:wanted]


def without_network(text: str) -> str:
    r"""Take out of a model's text who trained it, which is nobody's business who serves it.

    >>> without_network("[seed: 0]\n[machines: 10.0.0.1:1,10.0.0.2:1]\n[num_leaves: 15]\n")
    '[seed: 0]\n[num_leaves: 15]\n'
    """
    return _NETWORK.sub("", text)


def _dataset_options() -> dict[str, object]:
    return {
        "force_col_wise": True,
        "num_threads": 1,
        "pre_partition": True,  # where there are others: these rows are all of ours
        "verbose": -1,
    }
