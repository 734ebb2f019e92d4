"""引用: a result as a sentence that a doctor can put into the record, with where it came from.

A citation has the institution, the time, the name, the value with its unit and range (of an examination the
study and its images), the mark and the verdict that a check gave, under which catalogue: whoever reads the
record can look all of it up. Values stay as the hospital wrote them, in quotes where they could be taken for
words of ours. What a check said is not changed; a mark that was withdrawn since is said beside it. That a
result was cited is recorded as an outcome.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.access.clients import Client
from gateway.answers import one_each
from gateway.checks import Checks
from gateway.decisions import MOST_RESULTS, shown_results
from gateway.errors import BadRequest
from gateway.model import CheckAnswer, OutcomeIn, OutcomeOut, ShortText, VerdictOut, WithdrawnOut
from gateway.outcomes import Asked, Outcomes
from recognition import VerdictCode
from recognition.window import in_shanghai

Language = Literal["zh", "en"]
VERDICTS: dict[VerdictCode, tuple[str, str]] = {
    "recognised": ("可互认", "recognised"),
    "view_only": ("仅供调阅", "to view only"),
    "not_recognised": ("不予互认", "not recognised"),
}
PARTS = frozenset("；;。「」")
"""What parts of a sentence end with, and quotes."""
UNSEEN = ("Cc", "Cf", "Zl", "Zp")
"""Unicode's categories of characters that end lines, or turn or hide what stands there."""
NOTICE = "示例目录，非正式", "illustrative, not official"
"""What is said of a catalogue that is no official one."""


class CitationsIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """引用: which ``results`` of a check (all that are recognised, where none is named), in which words."""

    results: Annotated[list[ShortText], Meta(max_length=MOST_RESULTS)] = []
    lang: Language = "zh"


class Citation(Struct, frozen=True):
    """The sentence on one result, and the outcome by which the citing is recorded."""

    result: str
    text: str
    outcome: OutcomeOut


class CitationsOut(Struct, frozen=True, kw_only=True):
    """The citations of one check; ``text`` is all of them, a line each, ready for the record."""

    check: str
    lang: Language
    text: str
    citations: tuple[Citation, ...]


class Citing:
    """Cites results of answered checks."""

    def __init__(self, checks: Checks, outcomes: Outcomes) -> None:
        self._checks = checks
        self._outcomes = outcomes

    async def cite(self, check: str, request: CitationsIn, client: Client) -> CitationsOut:
        """The text for the record, once it is recorded that these results are cited. Asked again it is the
        same, and recorded once.

        Raises:
            NotFound: no such check for this institution.
            BadRequest: a result is not of that check, or none is recognised and none was named.
            EvidenceUnavailable: that they are cited could not be recorded.
        """
        client.require("his")
        answer = await self._checks.answer(check, client)
        shown = shown_results(answer)
        wanted = list(dict.fromkeys(request.results))
        for number, result in enumerate(request.results):
            if result not in shown:
                raise BadRequest(
                    "is not a result of this check; send its id as the answer has it",
                    field=f"results[{number}]",
                )
        wanted = wanted or [
            verdict.result.id for verdict in one_each(shown.values()) if verdict.verdict == "recognised"
        ]
        if not wanted:
            raise BadRequest("is empty, and no result of this check is recognised", field="results")
        said = [Asked(check, OutcomeIn(result=result, outcome="cited")) for result in wanted]
        outcomes = await self._outcomes.record(said, client)
        citations = tuple(
            Citation(result, text_of(shown[result], answer, request.lang), outcome)
            for result, outcome in zip(wanted, outcomes, strict=True)
        )
        text = "\n".join(one.text for one in citations)
        return CitationsOut(check=check, lang=request.lang, text=text, citations=citations)


def text_of(verdict: VerdictOut, answer: CheckAnswer, lang: Language) -> str:
    """The sentence on one result of a check."""
    withdrawn = next((one for one in answer.withdrawn if one.result == verdict.result.id), None)
    return (_chinese if lang == "zh" else _english)(verdict, answer, withdrawn)


def _chinese(verdict: VerdictOut, answer: CheckAnswer, withdrawn: WithdrawnOut | None) -> str:
    result, catalogue = verdict.result, answer.catalogue
    done, what = ("检验", "采样") if result.kind == "lab" else ("检查", "检查")
    times = [
        f"{_time(when)}{word}" for when, word in ((result.performed, what), (result.reported, "报告")) if when
    ]
    said = [f"引用{_issuer(verdict)}{done}结果（{'，'.join(times) or '时间不详'}）"]
    said.append(f"{_theirs(result.local_name)}{_value(verdict, '参考范围', '折合')}")
    if result.study_uid:
        held = f"，影像{result.images.held}幅" if result.images and result.images.held else ""
        said.append(f"检查号{_theirs(result.study_uid)}{held}")
    if verdict.item:
        said.append(f"互认项目{verdict.item.name}（{verdict.item.code}）")
    if verdict.mark and verdict.mark.state == "valid":
        said.append(f"互认标识{verdict.mark.printed}，编号{verdict.mark.id}")
    reason = (
        "" if verdict.verdict == "recognised" else f"：{_theirs(verdict.reasons[0].zh.removesuffix('。'))}"
    )
    said.append(f"{_time(answer.answered_at)}联认核对{VERDICTS[verdict.verdict][0]}{reason}")
    said.append(f"目录{catalogue.version}{f'（{NOTICE[0]}）' if catalogue.illustrative else ''}")
    said.append(f"核对号{answer.id}")
    if withdrawn:
        said.append(f"注意：该标识已于{_time(withdrawn.at)}撤回（{_theirs(withdrawn.zh)}）")
    return "；".join(said) + "。"


def _english(verdict: VerdictOut, answer: CheckAnswer, withdrawn: WithdrawnOut | None) -> str:
    result, catalogue = verdict.result, answer.catalogue
    done = "sampled" if result.kind == "lab" else "examined"
    times = [
        f"{word} {_time(when)}"
        for when, word in ((result.performed, done), (result.reported, "reported"))
        if when
    ]
    said = [f"Result of {_issuer(verdict)} ({', '.join(times) or 'time unknown'})"]
    said.append(f"{_theirs(result.local_name)}{_value(verdict, 'reference', 'that is')}")
    if result.study_uid:
        held = f", {result.images.held} images" if result.images and result.images.held else ""
        said.append(f"study {_theirs(result.study_uid)}{held}")
    if verdict.item:
        said.append(f"item {verdict.item.code} {verdict.item.name}")
    if verdict.mark and verdict.mark.state == "valid":
        said.append(f"recognition mark {verdict.mark.printed}, {verdict.mark.id}")
    reason = "" if verdict.verdict == "recognised" else f": {_theirs(verdict.reasons[0].en)}"
    said.append(f"checked with Lianren {_time(answer.answered_at)}: {VERDICTS[verdict.verdict][1]}{reason}")
    said.append(f"catalogue {catalogue.version}{f' ({NOTICE[1]})' if catalogue.illustrative else ''}")
    said.append(f"check {answer.id}")
    if withdrawn:
        said.append(f"note: this mark was withdrawn {_time(withdrawn.at)} ({_theirs(withdrawn.en)})")
    return "; ".join(said) + "."


def _issuer(verdict: VerdictOut) -> str:
    """Its name, or the code of an institution that the catalogue does not know."""
    institution = verdict.result.institution
    return institution.name or _theirs(institution.code)


def _value(verdict: VerdictOut, range_: str, that_is: str) -> str:
    result, converted = verdict.result, verdict.converted
    if not result.value:
        return ""
    text = f" {_theirs(result.value)} {_theirs(result.unit)}".rstrip()
    text += f" ({that_is} {converted.value} {converted.unit})" if converted else ""
    return text + (f" ({range_} {_theirs(result.reference)})" if result.reference else "")


def _theirs(text: str) -> str:
    """Words that a hospital may have written, on one line: a line is a citation, and its parts are ours."""
    seen = "".join(" " if unicodedata.category(one) in UNSEEN else one for one in text)
    words = " ".join(seen.split())
    return f"「{words.replace('「', '『').replace('」', '』')}」" if PARTS & set(words) else words


def _time(when: datetime) -> str:
    """To the minute, on a clock in Asia/Shanghai."""
    return f"{in_shanghai(when):%Y-%m-%d %H:%M}"
