"""What both kinds of nodes are held against: the results that they showed."""

from __future__ import annotations

import re
from datetime import timedelta

from gateway.accrediting.kit import Kit, Seen, passed, unless
from mapping import same_unit
from quality import assess
from recognition import Result
from recognition.compare import comparable, needs_unit
from recognition.flags import words

MIXED_UP = re.compile(r"[\ufffd\x80-\x9f]|锟斤拷|烫烫|[ÃÂåæçèé][\x80-\xbf¡-¿]")
"""Signs of bytes that were read in another character set."""
_TIMES = ("performed:", "reported:", "timeliness:")


async def own(kit: Kit) -> Seen:
    """Every answer was of the person asked about: the adapter refuses any other."""
    answers = await kit.answers()
    return passed(f"{len(answers)}/{len(kit.patients.known)}")


async def complete(kit: Kit) -> Seen:
    """Everything the owner expects."""
    expected = await kit.expected()
    return unless([wanted.name or wanted.study_uid for wanted, got in expected if got is None], len(expected))


async def readable(kit: Kit) -> Seen:
    """Nothing was left out."""
    details = [answer.report.detail for answer in await kit.shown() if answer.report.detail]
    return unless(details, len(kit.patients.known))


async def flags(kit: Kit) -> Seen:
    """What would keep results from being relied on, but for times, which have findings of their own."""
    results = await kit.results()
    wrong = [
        f"{result.source}: {' '.join(words(flag))}"
        for result in results
        for flag in assess(result, kit.now)
        if not flag.startswith(_TIMES)
    ]
    return unless(wrong, len(results), "advice")


async def values(kit: Kit) -> Seen:
    """Laboratory results without a value."""
    lab = [result for result in await kit.results() if result.kind == "lab"]
    return unless([result.source for result in lab if not result.value], len(lab))


async def studies(kit: Kit) -> Seen:
    """Imaging results whose images could not be found."""
    imaging = [result for result in await kit.results() if result.kind == "imaging"]
    wrong = [one.source for one in imaging if not (one.study_uid and _images(one))]
    return unless(wrong, len(imaging), "advice")


async def institution(kit: Kit) -> Seen:
    """Results of institutions that the node does not speak for."""
    own_ones = {kit.settings.institution, *kit.settings.further_institutions}
    results = await kit.results()
    return unless([one.source for one in results if one.institution not in own_ones], len(results))


async def names(kit: Kit) -> Seen:
    """Names that no item was found for; some are of no list, so they stand in nobody's way."""
    results = await kit.results()
    unread = [result.local_name for result in results if result.reading.concept is None]
    return unless(unread, len(results), "fix" if results and len(unread) == len(results) else "advice")


async def units_stated(kit: Kit) -> Seen:
    """Numbers without a unit, where the item has one."""
    wanting = [
        result
        for result in await kit.results()
        if result.kind == "lab"
        and result.reading.item
        and needs_unit(kit.catalogue.item(result.reading.item))
    ]
    return unless([result.source for result in wanting if result.value and not result.unit], len(wanting))


async def units_known(kit: Kit) -> Seen:
    """Units that the catalogue cannot compare."""
    stated = [
        (result, kit.catalogue.item(result.reading.item))
        for result in await kit.results()
        if result.kind == "lab" and result.unit and result.reading.item
    ]
    wrong = [
        f"{result.local_name}: {result.unit}"
        for result, item in stated
        if not comparable(result, item)
        and not any(same_unit(result.unit, one.unit) for one in kit.catalogue.conversions_of(item))
    ]
    return unless(wrong, len(stated), "advice")


async def values_expected(kit: Kit) -> Seen:
    """Values and units that are not what the owner wrote. The values themselves are not told."""
    stated = [(wanted, got) for wanted, got in await kit.expected() if got and (wanted.value or wanted.unit)]
    wrong = [
        f"{got.source} {got.local_name}"
        for wanted, got in stated
        if (wanted.value and got.value != wanted.value)
        or (wanted.unit and not same_unit(got.unit, wanted.unit))
    ]
    return unless(wrong, len(stated))


async def times_stated(kit: Kit) -> Seen:
    """Times that are missing, without a zone, or cannot be."""
    results = await kit.results()
    wrong = [
        f"{result.source}: {' '.join(words(flag))}"
        for result in results
        for flag in assess(result, kit.now)
        if flag.startswith(_TIMES) or flag == "completeness:no-performed-time"
    ]
    return unless(wrong, len(results))


async def times_expected(kit: Kit) -> Seen:
    """Times that are not what the owner wrote: by how much."""
    stated = [(wanted, got) for wanted, got in await kit.expected() if got and wanted.performed]
    wrong = []
    for wanted, got in stated:
        if got.performed is None or wanted.performed is None:
            wrong.append(f"{got.source}: –")
        elif got.performed != wanted.performed:
            wrong.append(f"{got.source}: {_hours(got.performed - wanted.performed)}")
    return unless(wrong, len(stated))


async def text(kit: Kit) -> Seen:
    """Text that was read in another character set than it was written in."""
    results = await kit.results()
    wrong = [
        result.source
        for result in results
        if MIXED_UP.search(f"{result.local_name} {result.unit} {result.value} {result.specimen}")
    ]
    return unless(wrong, len(results))


async def images(kit: Kit) -> Seen:
    """As many images as the node states itself, and as the owner expects."""
    wrong, counted = [], 0
    for wanted, got in await kit.expected():
        if got and got.kind == "imaging" and wanted.images is not None:
            counted += 1
            if (held := _images(got)) != wanted.images:
                wrong.append(f"{got.source}: {held or 0} / {wanted.images}")
    return unless(wrong, counted)


def _images(result: Result) -> int | None:
    if result.images is None:
        return None
    return result.images.expected if result.images.held is None else result.images.held


def _hours(apart: timedelta) -> str:
    return f"{apart.total_seconds() / 3600:+.1f} h"
