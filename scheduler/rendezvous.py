"""Order endpoints for a key by name alone, so that every router agrees and little moves.

Rendezvous hashing: each endpoint's place follows from the hash of key and name. An
endpoint that leaves moves only the keys it was first for, each to its own second place;
one that joins takes only what it is first for. Called by the policies that hash.
"""

from collections.abc import Sequence

import numpy as np
from xxhash import xxh3_64_intdigest

from predictor.types import FloatArray


def places(key: str, names: Sequence[str]) -> FloatArray:
    """Rank endpoints for a key: 0 is its first choice, shape ``(n,)``.

    >>> everyone = places("conversation 7", ("a:1", "b:1", "c:1"))
    >>> sorted(everyone.tolist())
    [0.0, 1.0, 2.0]
    """
    hashes = [xxh3_64_intdigest(f"{key} {name}".encode()) for name in names]
    ranks = np.empty(len(hashes))
    ranks[sorted(range(len(hashes)), key=hashes.__getitem__)] = np.arange(len(hashes))
    return ranks
