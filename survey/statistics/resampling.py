"""The bootstrap's samples, drawn once for everything that is said of the same people and images."""

import zlib
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
SEED = 20230101  # the same answers give the same intervals, whoever looks


@dataclass(frozen=True)
class Sampler:
    """``draws`` samples of each kind of case; asked again, it gives the same ones.

    So figures differ by their cases and not by the luck of the draw, and the samples, which cost
    more than what is computed from them, are paid for once. Kinds are independent of each other.
    """

    seed: int = SEED
    draws: int = DRAWS
    _drawn: dict[Hashable, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def count(self, kind: str, n: int) -> NDArray[np.float64]:
        """(draws, n) how often each of n cases comes up in each sample."""
        key = (kind, n)
        if key not in self._drawn:
            drawn = self.build_rng(f"{kind} {n}").multinomial(n, np.full(n, 1 / n), self.draws)
            self._drawn[key] = drawn.astype(np.float64)
        return self._drawn[key]

    def build_rng(self, purpose: str) -> np.random.Generator:
        """For what is no bootstrap: the same numbers for the same purpose."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])
