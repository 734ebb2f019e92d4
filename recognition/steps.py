"""The numbered steps of a decision. Each yields the rules that a result does not meet.

1. identity      the result belongs to this person by a strong identifier; else nothing more is said of it
2. match         its item is the planned one, or a stand-in for it, in a list in force at the receiver
3. object        the images are there, or the value with its unit; final; not superseded
4. mark          the mark is signed, not withdrawn, and its area holds the receiver
5. qualification the institution was qualified for the item on the day of the examination
6. hierarchy     the levels allow it, where the receiver's region has a rule
7. window        the moment of asking lies inside the window, and inside the receiver's own where it has one
8. negative list no situation applies that asks for a new examination
9. data quality  the value is comparable and nothing is wrong with the record

The order is that of ``docs/rules.md``; the words, effects and sources of the rules are catalogue data.
All failing steps are reported; the main reason is the first one that leads to the verdict, so that the words
a doctor reads first never speak of viewing under a verdict that refuses. A rule whose effect is ``note`` is
something to know, and fails no step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mapping import printed_range
from recognition.case import Case
from recognition.compare import needs_unit
from recognition.context import applying
from recognition.flags import HEADER
from recognition.flags import words as words_of
from recognition.model import Mark
from recognition.versions import STANDING
from recognition.window import Limit, in_shanghai

Finding = tuple[str, str, str]
"""A rule id with the particulars in Chinese and in English."""

Findings = Sequence[Finding]


def identity(case: Case) -> Findings:
    """Step 1: the same person by a strong identifier."""
    return () if case.result.identity == "strong" else (("R1.1", "", ""),)


def match(case: Case) -> Findings:
    """Step 2: identity of items, or a stand-in relation; similarity of names counts for nothing."""
    item, aim, reading = case.item, case.aim, case.result.reading
    if item is None or aim is None:
        rule = "R2.3" if reading.reason == "conflict" else "R2.1"
        return [
            (rule, f"原名“{case.result.local_name}”（{reading.reason}）", f"local name, {reading.reason}")
        ]
    found: list[Finding] = []
    if case.serves is None:
        found.append(
            (
                "R2.2",
                f"已有“{item.name}”，拟开“{aim.item.name}”",
                f"found {item.code} {item.concept}, planned {aim.item.code} {aim.item.concept}",
            )
        )
    if aim.list is None:
        found.append(("R2.4", aim.item.name, aim.item.code))
    return found


def present(case: Case) -> Findings:
    """Step 3: what is recognised is the image or the value (Art. 2), so it must be there and be final.

    Images that nobody counted at the source cannot be shown to be complete.
    """
    result, version = case.result, case.version
    found: list[Finding] = []
    if result.kind == "imaging":
        images = result.images
        if images is None or images.held is None:
            found.append(("R3.2", "", ""))
        elif images.held == 0 or images.held < (images.expected or 0):
            expected = "?" if images.expected is None else images.expected
            zh, en = f"应有{expected}幅，现有{images.held}幅", f"{images.held} of {expected} images"
            found.append(("R3.1", zh, en))
        elif images.expected is None:
            found.append(("R3.7", f"现有{images.held}幅", f"{images.held} images"))
    elif not result.value or not (result.unit or case.item is None or not needs_unit(case.item)):
        found.append(("R3.3", "", ""))
    if result.status not in STANDING:
        found.append(("R3.4", result.status, result.status))
    if newer := version.superseded_by:
        when = f"{in_shanghai(newer.reported):%Y-%m-%d %H:%M}" if newer.reported else "?"
        found.append(("R3.5", f"新版报告于{when}", f"newer version of {when}"))
    elif version.undecided:
        found.append(("R3.6", "", ""))
    return found


def mark(case: Case) -> Findings:
    """Step 4: scope + HR. What is printed, what is signed and what the institution may have recognised each
    have a range, and every one of them must hold the receiver."""
    found = case.result.mark
    if found is None or found.state == "unsigned":
        # Without a qualification there is no mark; step 5 says so.
        return () if qualification(case) else (("R4.3", "", ""),)
    if found.state != "valid":
        return ((_MARK_STATES[found.state], found.id, found.id),)
    holds_receiver = case.question.holds_receiver
    for scope in ranges(case, found):
        if scope is None or not holds_receiver(scope):
            return (("R4.1", found.printed, found.printed),)
    return ()


_MARK_STATES = {"invalid": "R4.2", "withdrawn": "R4.4", "unverifiable": "R4.5"}


def ranges(case: Case, found: Mark) -> list[str | None]:
    """The ranges of a mark; None where what is printed names no region."""
    catalogue, scopes = case.question.catalogue, [found.scope]
    issuer = catalogue.institutions.get(case.result.institution)
    if case.result.printed_mark and issuer:
        scopes.append(catalogue.scope_of_mark(printed_range(case.result.printed_mark), issuer.region))
    if granted := case.reaching or case.holding:
        scopes.append(granted[0].scope)
    return scopes


def qualification(case: Case) -> Findings:
    """Step 5: judged on the day of the examination, not only today."""
    if case.item is None:
        return ()
    institution, day = case.result.institution, case.day
    if institution not in case.question.catalogue.institutions:
        return (("R5.3", institution, institution),)
    if day is None or case.holding:
        return ()
    for record in case.records:
        if record.valid_from <= day <= record.valid_to:
            return (("R5.2", record.reason, record.id),)
    return (("R5.1", f"检查日{day.isoformat()}", f"on {day.isoformat()}"),)


def hierarchy(case: Case) -> Findings:
    """Step 6: the level rules of the receiver's area, where it has any."""
    return [(rule.id, "", "") for rule in applying(case, 6)]


def window(case: Case) -> Findings:
    """Step 7: the list's window and the receiver's own both count (:func:`recognition.window.last_moment`).

    Too old to recognise is not too old to read: the viewing period of the window says how long.
    """
    at, limits = case.question.check.at, case.limits
    if not limits:
        base = case.result.performed or case.version.first_reported
        if base is None or base > at:
            return (("R7.3", "", ""),)
        return (("R7.2", "", ""),) if case.aim and case.aim.list else ()
    for limit in limits:
        if limit.base is None or limit.base > at:
            return (("R7.3", "", ""),)
    found = [_ended(case, limit) for limit in limits if limit.until and at > limit.until]
    if limits[0].window.is_default:
        days = limits[0].window.days
        found.append(("R7.6", f"{days}天", f"{days} days"))
    return found


def _ended(case: Case, limit: Limit) -> Finding:
    images, days = case.result.images, limit.window.days
    viewable = limit.viewing is not None and case.question.check.at <= limit.viewing
    if viewable and (case.result.kind == "lab" or (images and images.held)):
        rule = "R7.4"
    else:
        rule = "R7.5" if limit.window.institution else "R7.1"
    until = f"{limit.until:%Y-%m-%d %H:%M}"
    return rule, f"时限{days}天，已于{until}届满", f"window of {days} days ended {until}"


def negative_list(case: Case) -> Findings:
    """Step 8: the situations in which a repeat is allowed or asked for."""
    return [(rule.id, "", "") for rule in applying(case, 8)]


def data_quality(case: Case) -> Findings:
    """Step 9: what cannot be compared or contradicts itself is looked at, not relied on. What the header of
    an image leaves to be wished for is said where the catalogue has words for it, and changes nothing."""
    result, item, converted = case.result, case.item, case.converted
    found: list[Finding] = []
    if item is not None:
        if converted is not None:
            words = f"{result.value} {result.unit} → {converted.value} {converted.unit}"
            found.append(("R9.3", words, words))
        elif not case.comparable:
            zh, en = (item.units[0], item.units[0]) if item.units else ("无单位", "without a unit")
            found.append(("R9.1", f"{result.unit}≠{zh}", f"{result.unit}, not {en}"))
        if item.method_dependent:
            found.append(("R9.4", "", ""))
    told = [flag for flag in result.flags if flag.startswith(HEADER)]
    for rule, flags in (("R9.2", [flag for flag in result.flags if flag not in told]), ("R9.5", told)):
        if flags and rule in case.question.catalogue.rules:
            spoken = [words_of(flag) for flag in flags]
            found.append((rule, "、".join(zh for zh, _ in spoken), ", ".join(en for _, en in spoken)))
    return found


Step = Callable[[Case], Findings]

STEPS: tuple[tuple[str, str, Step], ...] = (
    ("身份", "identity", identity),
    ("项目匹配", "match", match),
    ("影像或数值", "object", present),
    ("互认标识", "mark", mark),
    ("质量资格", "qualification", qualification),
    ("机构等级", "hierarchy", hierarchy),
    ("互认时限", "window", window),
    ("负面清单", "negative list", negative_list),
    ("数据质量", "data quality", data_quality),
)
"""The steps in order, from 1: what each is called, and the function."""
