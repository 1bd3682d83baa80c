"""How certain is a result? Intervals for a success rate and a paired difference, an exact paired test, pass@k.

Several plays of one game form a cluster: they are not independent, and no figure here assumes that they are. With one
play per game, every formula reduces to the published one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from math import comb, sqrt
from statistics import NormalDist
from typing import NamedTuple

Z_95 = NormalDist().inv_cdf(0.975)


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


def wilson_interval(rate: float, count: float) -> Interval:
    """Return the score interval of a success rate over `count` independent plays; (0, 1) for none.

    E. B. Wilson (1927), JASA 22:209-212; method 3 of R. G. Newcombe (1998), Statistics in Medicine 17:857-872.
    """
    if not count:
        return Interval(0.0, 1.0)
    z2 = Z_95**2
    middle = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 * sqrt(rate * (1 - rate) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    # At the ends the formula gives exactly 0 or 1, floating point nearly so.
    return Interval(0.0 if rate == 0 else middle - half, 1.0 if rate == 1 else middle + half)


def effective_count(outcomes: Iterable[Collection[bool]]) -> float:
    """Return the effective sample size of clustered plays; each collection holds the outcomes of one game.

    With one play per game it is the number of plays. With several it is p (1 - p) divided by the ratio estimate's
    variance between m games (with m - 1; design effect: L. Kish, Survey Sampling, 1965), times (z/t)² for Student's t
    of m - 1 degrees of freedom, since that variance is estimated from m games (E. L. Korn and B. I. Graubard, 1998,
    Survey Methodology 24:193-201). It is at least the number of games, as if each always ended in the same way, and at
    most that of plays. `wilson_interval` with this count is the interval for clusters of N. Dean and M. Pagano (2015),
    Journal of Survey Statistics and Methodology 3:484-503.
    """
    games = [(sum(plays), len(plays)) for plays in outcomes if plays]
    m, count = len(games), sum(played for _, played in games)
    if count == m:
        return float(count)
    rate = sum(won for won, _ in games) / count
    variance = sum((won - rate * played) ** 2 for won, played in games) / count**2
    if m == 1 or variance == 0:
        return float(m)  # nothing is known of how games differ
    found = rate * (1 - rate) / (variance * m / (m - 1)) * (Z_95 / _t_95(m - 1)) ** 2
    return min(max(found, float(m)), float(count))


def _t_95(degrees: int) -> float:
    """Return Student's t at 97.5 %, within 5 % for 2 degrees of freedom and 0.2 % from 5 on.

    M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions (1964), 26.7.5.
    """
    z = Z_95
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def pass_at_k(won: int, played: int, k: int) -> float:
    """Return an unbiased estimate, from `won` of `played`, of the chance that at least one of k plays wins.

    1 - C(played - won, k) / C(played, k): M. Chen et al. (2021), arXiv:2107.03374, equation 1.
    """
    return 1.0 - comb(played - won, k) / comb(played, k)


def paired_difference(differences: Sequence[float]) -> tuple[float, Interval]:
    """Return the mean of per-game differences in success rate (each from -1 to 1), and its interval.

    Two games are added, one won by each side alone; the interval is the normal one of that mean. With one play per
    game this is the adjusted Wald interval of D. G. Bonett and R. M. Price (2012), Journal of Educational and
    Behavioral Statistics 37:479-488, which M. W. Fagerland et al. (2014), Statistics in Medicine 33:2850-2875,
    recommend for paired proportions.
    """
    count = len(differences) + 2
    middle = sum(differences) / count
    half = Z_95 * sqrt(((sum(d**2 for d in differences) + 2) / count - middle**2) / count)
    mean = sum(differences) / len(differences) if differences else 0.0
    return mean, Interval(max(-1.0, middle - half), min(1.0, middle + half))


def exact_p_value(differences: Iterable[int]) -> float:
    """Return the two-sided p-value of per-game differences in wins, under the hypothesis that both sides are equal.

    Under it, each difference has either sign with equal probability. The p-value is the share of all sign assignments
    with a sum at least as far from 0 as the observed one, counted exactly (R. A. Fisher, The Design of Experiments,
    1935, section 21). With one play per game it is McNemar's exact test: Q. McNemar (1947), Psychometrika 12:153-157.
    """
    found = [difference for difference in differences if difference]
    ways = [1]  # ways[i]: how many choices of signs make the positive differences sum to i
    for size, number in sorted(Counter(map(abs, found)).items()):
        longer = [0] * (len(ways) + size * number)
        chosen = 1  # C(number, i)
        for i in range(number + 1):
            for total, count in enumerate(ways):
                longer[total + i * size] += count * chosen
            chosen = chosen * (number - i) // (i + 1)
        ways = longer
    largest = len(ways) - 1  # the sum of all signed differences is 2 · total - largest
    far = sum(count for total, count in enumerate(ways) if abs(2 * total - largest) >= abs(sum(found)))
    return far / (1 << len(found))
