"""How long to wait before a peer is tried again."""

from dataclasses import dataclass, field
from random import Random, SystemRandom

FIRST_S = 0.1
LONGEST_S = 30.0


@dataclass
class Backoff:
    """Pauses that grow, each drawn anew, so that many who lost one peer do not come back at once.

    The pause after failure n (from 0) is uniform between 0 and min(longest, first * 2**n): "full jitter" (Brooker,
    "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).

    Parameters
    ----------
    first_s, longest_s : bounds of the first pause and of any [s]
    random : draws them

    Examples
    --------
    >>> from random import Random
    >>> pauses = Backoff(random=Random(1))
    >>> all(pauses.next_s() <= 0.1 * 2**n for n in range(8))
    True
    """

    first_s: float = FIRST_S
    longest_s: float = LONGEST_S
    random: Random = field(default_factory=SystemRandom)
    _failures: int = 0

    def next_s(self) -> float:
        """The pause after one more failure [s]."""
        most = min(self.longest_s, self.first_s * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return self.random.uniform(0.0, most)

    def reset(self) -> None:
        """All is well again."""
        self._failures = 0
