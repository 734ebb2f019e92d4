"""The numbered steps of a decision. Each yields the rules that a result does not meet.

1. identity      the result belongs to this person by a strong identifier; else nothing more is said of it
2. match         its item is the planned one, or a stand-in for it, in a list in force at the receiver
3. object        the images are there, or the value with its unit; final; not superseded
4. mark          the mark is signed, not withdrawn, and its area holds the receiver
5. qualification the institution was qualified for the item on the day of the examination
6. hierarchy     the levels allow it, where the receiver's region has a rule
7. window        the moment of asking lies inside the window
8. negative list no situation applies that asks for a new examination
9. data quality  the unit is comparable and nothing is wrong with the record

The order is that of ``docs/steward.md``; the words, effects and sources of the rules are catalogue data.
All failing steps are reported; the main reason is the first one that leads to the verdict, so that the words
a doctor reads first never speak of viewing under a verdict that refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime

from msgspec import Struct

from catalog import LEVELS, Catalogue, Item, ItemList, Qualification, StandIn, UnknownEntry, Window
from mapping import printed_range, same_unit
from recognition.flags import words
from recognition.model import Check, Mark, Result
from recognition.versions import Version
from recognition.window import SHANGHAI, last_moment

Finding = tuple[str, str, str]
"""A rule id with the particulars in Chinese and in English."""


class Case(Struct, frozen=True, kw_only=True):
    """One result seen against the planned item it is nearest to; what every step looks at.

    ``ordered`` is None where the result's name could not be put onto the catalogue. ``day`` is the day of the
    examination where the hospital is, ``holding`` the qualifications that held for the item on it.
    """

    check: Check
    result: Result
    catalogue: Catalogue
    receiver_region: str
    receiver_level: str
    ordered: Item | None
    item: Item | None
    exact: bool
    stand_in: StandIn | None
    list: ItemList | None
    window: Window | None
    version: Version
    day: date | None
    holding: tuple[Qualification, ...]

    @property
    def base(self) -> datetime | None:
        """The time the window counts from; the other one where the report does not carry it.

        A report time is that of the first version.
        """
        performed, reported = self.result.performed, self.version.first_reported
        wanted_report = self.window is not None and self.window.base == "report"
        return (reported or performed) if wanted_report else (performed or reported)

    def holds_receiver(self, scope: str) -> bool:
        """Whether this area holds the asking institution."""
        return self.catalogue.contains(scope, self.receiver_region)

    @property
    def expires(self) -> datetime | None:
        """The last instant at which this result is recognisable, by the window alone."""
        if self.window is None or self.base is None or self.base > self.check.at:
            return None
        return last_moment(self.window, self.base)


def match(case: Case) -> Iterator[Finding]:
    """Step 2: identity of items, or a stand-in relation; similarity of names counts for nothing."""
    reading = case.result.reading
    if case.item is None:
        rule = "R2.3" if reading.reason == "conflict" else "R2.1"
        yield rule, f"原名“{case.result.local_name}”（{reading.reason}）", f"local name, {reading.reason}"
    elif case.ordered is not None and not (case.exact or case.stand_in):
        yield (
            "R2.2",
            f"已有“{case.item.name}”，拟开“{case.ordered.name}”",
            f"found {case.item.code} {case.item.concept}, planned {case.ordered.code} {case.ordered.concept}",
        )
    if case.ordered is not None and case.list is None:
        yield "R2.4", case.ordered.name, case.ordered.code


def present(case: Case) -> Iterator[Finding]:
    """Step 3: what is recognised is the image or the value (Art. 2), so it must be there and be final.

    Images that nobody counted at the source cannot be shown to be complete.
    """
    result = case.result
    if result.kind == "imaging":
        images = result.images
        if images is None or images.held is None:
            yield "R3.2", "", ""
        elif images.held == 0 or images.held < (images.expected or 0):
            expected = "?" if images.expected is None else images.expected
            yield "R3.1", f"应有{expected}幅，现有{images.held}幅", f"{images.held} of {expected} images"
        elif images.expected is None:
            yield "R3.7", f"现有{images.held}幅", f"{images.held} images"
    elif not result.value or not (result.unit or case.item is None or _unitless(case.item)):
        yield "R3.3", "", ""
    if result.status not in ("final", "amended", "corrected"):
        yield "R3.4", result.status, result.status
    if newer := case.version.superseded_by:
        when = newer.reported.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M") if newer.reported else "?"
        yield "R3.5", f"新版报告于{when}", f"newer version of {when}"
    elif case.version.undecided:
        yield "R3.6", "", ""


def mark(case: Case) -> Iterator[Finding]:
    """Step 4: scope + HR. What is printed, what is signed and what the institution may have recognised each
    have a range, and every one of them must hold the receiver."""
    found = case.result.mark
    if found is None or found.state == "unsigned":
        if not any(qualification(case)):  # without a qualification there is no mark; step 5 says so
            yield "R4.3", "", ""
    elif found.state != "valid":
        yield _MARK_STATES[found.state], found.id, found.id
    elif any(scope is None or not case.holds_receiver(scope) for scope in _ranges(case, found)):
        yield "R4.1", found.printed, found.printed


_MARK_STATES = {"invalid": "R4.2", "withdrawn": "R4.4", "unverifiable": "R4.5"}


def _ranges(case: Case, mark: Mark) -> Iterator[str | None]:
    """The ranges of a mark; None where what is printed names no region."""
    yield mark.scope
    issuer = case.catalogue.institutions.get(case.result.institution)
    if case.result.printed_mark and issuer:
        yield case.catalogue.scope_of_mark(printed_range(case.result.printed_mark), issuer.region)
    if scopes := [record.scope for record in case.holding]:
        yield next((scope for scope in scopes if case.holds_receiver(scope)), scopes[0])


def qualification(case: Case) -> Iterator[Finding]:
    """Step 5: judged on the day of the examination, not only today."""
    if case.item is None:
        return
    institution = case.result.institution
    if institution not in case.catalogue.institutions:
        yield "R5.3", institution, institution
    elif case.day is not None and not case.holding:
        records = case.catalogue.qualifications_of(institution, case.item)
        if stopped := next((q for q in records if q.valid_from <= case.day <= q.valid_to), None):
            yield "R5.2", stopped.reason, stopped.id
        else:
            yield "R5.1", f"检查日{case.day.isoformat()}", f"on {case.day.isoformat()}"


def hierarchy(case: Case) -> Iterator[Finding]:
    """Step 6: only where the receiver's region has such a rule."""
    if case.catalogue.hierarchy(case.receiver_region) is None:
        return
    issuer = case.catalogue.institutions.get(case.result.institution)
    if issuer and LEVELS.index(issuer.level) < LEVELS.index(case.receiver_level):
        yield (
            "R6.1",
            f"{issuer.level}，低于{case.receiver_level}",
            f"{issuer.level} below {case.receiver_level}",
        )


def window(case: Case) -> Iterator[Finding]:
    """Step 7: the boundary counts as inside; see :func:`recognition.window.last_moment`."""
    if case.base is None or case.base > case.check.at:
        yield "R7.3", "", ""
        return
    if case.window is None:
        if case.list is not None:
            yield "R7.2", "", ""
        return
    until = last_moment(case.window, case.base)
    if case.check.at > until:
        days = case.window.days
        default = ("（地区默认）", " (region default)") if case.window.is_default else ("", "")
        yield (
            "R7.1",
            f"时限{days}天{default[0]}，已于{until:%Y-%m-%d %H:%M}届满",
            f"window of {days} days{default[1]} ended {until:%Y-%m-%d %H:%M}",
        )


def negative_list(case: Case) -> Iterator[Finding]:
    """Step 8: the situations in which a repeat is allowed or asked for."""
    item = case.ordered or case.item
    if item is None:
        return
    for rule in case.catalogue.negative_list:
        if (
            _FACTS[rule.fact](case)
            and case.catalogue.contains(rule.region, case.receiver_region)
            and case.catalogue.covers(rule.items, item)
        ):
            yield rule.id, "", ""


def data_quality(case: Case) -> Iterator[Finding]:
    """Step 9: what cannot be compared or contradicts itself is looked at, not relied on."""
    result = case.result
    units = case.item.units if case.item else ()
    if units and result.unit and not any(same_unit(result.unit, unit) for unit in units):
        yield "R9.1", f"{result.unit}≠{units[0]}", f"{result.unit}, not {units[0]}"
    if result.flags:
        zh, en = zip(*(words(flag) for flag in result.flags), strict=True)
        yield "R9.2", "、".join(zh), ", ".join(en)


STEPS: tuple[Callable[[Case], Iterable[Finding]], ...] = (
    match,
    present,
    mark,
    qualification,
    hierarchy,
    window,
    negative_list,
    data_quality,
)

_FACTS: dict[str, Callable[[Case], bool]] = {
    "emergency": lambda case: case.check.context.emergency or case.check.context.setting == "emergency",
    "condition_changed": lambda case: case.check.context.condition_changed,
    "pre_operation": lambda case: case.check.context.pre_operation,
    "pre_transfusion": lambda case: case.check.context.pre_transfusion,
    "forensic": lambda case: case.check.context.forensic,
    "intervening_procedure": lambda case: case.check.context.intervening_procedure,
    "rapid_change": lambda case: True,  # the items that the line names are what changes fast
    "abnormal": lambda case: case.result.abnormal,
}


def receiver_of(check: Check, catalogue: Catalogue) -> tuple[str, str]:
    """Region and level of the asking institution.

    Raises:
        UnknownEntry: the catalogue does not hold the institution.
    """
    institution = catalogue.institution(check.receiver)
    if institution.level not in LEVELS:
        raise UnknownEntry("level", institution.level, catalogue.version)
    return institution.region, institution.level


def _unitless(item: Item | None) -> bool:
    # Qualitative results and ratios carry no unit; the catalogue says so by listing none.
    return item is not None and (not item.units or item.concept.split("|")[2:3] == ["QL"])
