"""Internal quality control: the Westgard rules over the values of one control, in the order of the runs.

=========== =============================================================== ============
``1-2s``    beyond 2 standard deviations                                    warning
``1-3s``    beyond 3 standard deviations                                    out of control
``2-2s``    two in a row beyond 2 on the same side                          out of control
``R-4s``    two in a row, one beyond +2 and the other beyond -2             out of control
``10-x``    ten in a row on one side of the mean                            out of control
=========== =============================================================== ============

Beyond means farther than; a value on the line is not beyond it. Source: Westgard et al., Clin Chem 1981;
27:493; which rules warn and which reject is as read in public code of laboratory products. R-4s is applied
within one series here; laboratories that run two levels apply it across them as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Literal

from quality.errors import NotANumber

WestgardRule = Literal["1-2s", "1-3s", "2-2s", "R-4s", "10-x"]
WARNINGS: frozenset[WestgardRule] = frozenset({"1-2s"})


def z_scores(values: Sequence[Decimal], mean: Decimal, deviation: Decimal) -> list[Decimal]:
    """How many standard deviations each value lies from the mean.

    Raises:
        NotANumber: one of them is not finite, or the standard deviation is not above 0.
    """
    if not all(number.is_finite() for number in (*values, mean, deviation)) or deviation <= 0:
        raise NotANumber("control values need finite numbers and a standard deviation above 0")
    return [(value - mean) / deviation for value in values]


def broken(z: Sequence[Decimal]) -> tuple[WestgardRule, ...]:
    """The rules that the last of these values breaks, with those before it. Empty for no value."""
    return tuple(rule for rule, breaks in _RULES.items() if breaks(z))


def in_control(z: Sequence[Decimal]) -> bool:
    """Whether the last value breaks no rule but a warning."""
    return WARNINGS.issuperset(broken(z))


def breaks_1_2s(z: Sequence[Decimal]) -> bool:
    """The last value is beyond 2 standard deviations."""
    return bool(z) and abs(z[-1]) > 2


def breaks_1_3s(z: Sequence[Decimal]) -> bool:
    """The last value is beyond 3 standard deviations."""
    return bool(z) and abs(z[-1]) > 3


def breaks_2_2s(z: Sequence[Decimal]) -> bool:
    """The last two values are beyond 2 standard deviations on the same side."""
    last = z[-2:]
    return len(last) == 2 and (min(last) > 2 or max(last) < -2)


def breaks_r_4s(z: Sequence[Decimal]) -> bool:
    """Of the last two values one is beyond +2, and the other beyond -2 standard deviations."""
    last = z[-2:]
    return len(last) == 2 and min(last) < -2 and max(last) > 2


def breaks_10_x(z: Sequence[Decimal]) -> bool:
    """The last ten values are on one side of the mean."""
    last = z[-10:]
    return len(last) == 10 and (min(last) > 0 or max(last) < 0)


_RULES: dict[WestgardRule, Callable[[Sequence[Decimal]], bool]] = {
    "1-2s": breaks_1_2s,
    "1-3s": breaks_1_3s,
    "2-2s": breaks_2_2s,
    "R-4s": breaks_r_4s,
    "10-x": breaks_10_x,
}
