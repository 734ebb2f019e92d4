"""Cards of answers that were given: links to images, ages, nodes that were not heard, what has no card."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from adapters.node import Report
from gateway.demo.people import BY_KEY
from gateway.faces.cards import MOST_LINES, cards_of, results_of
from gateway.model import CheckAnswer, ConsentRule
from tests.gateway.live import ask, body

VIEWER = "https://viewer.example/v?StudyInstanceUIDs={study_uid}"


@pytest.fixture
def answer(his: httpx.Client) -> CheckAnswer:
    """A chest CT that may be viewed, and an albumin that is recognised, at the opening of a chart."""
    found = ask(his, body(patient=BY_KEY["jia"].number) | {"planned": [{"name": "胸部CT平扫"}]})
    return replace(found, moment="reception")


def card(answer: CheckAnswer, viewer: str = "") -> dict[str, object]:
    (one,) = cards_of(answer, [], [], viewer)
    return one


def test_a_card_links_to_the_images_of_its_studies(answer: CheckAnswer) -> None:
    uids = {one.result.study_uid for one in answer.verdicts if one.verdict == "view_only"}
    links = card(answer, VIEWER)["links"]
    assert isinstance(links, list)
    assert {link["url"] for link in links} == {VIEWER.replace("{study_uid}", uid) for uid in uids}
    assert {link["type"] for link in links} == {"absolute"}


def test_a_card_has_no_links_where_no_viewer_is_configured(answer: CheckAnswer) -> None:
    assert "links" not in card(answer)


@pytest.mark.parametrize("uid", ["1.2&x=y", "..", "1..2", "1.2/", "", "1" * 65])
def test_what_is_no_uid_makes_no_link(answer: CheckAnswer, uid: str) -> None:
    verdicts = tuple(replace(one, result=replace(one.result, study_uid=uid)) for one in answer.verdicts)
    assert "links" not in card(replace(answer, verdicts=verdicts), VIEWER)


def named(answer: CheckAnswer, name: str) -> CheckAnswer:
    """The answer with another name of every result, as another hospital wrote it."""
    return replace(
        answer,
        verdicts=tuple(replace(one, result=replace(one.result, local_name=name)) for one in answer.verdicts),
    )


@pytest.mark.parametrize(
    "name",
    [
        "![x](https://evil.example)",
        "<https://evil.example>",
        "https://evil.example/x",
        "HTTP://evil.example",
        "www.evil.example",
        "WWW.evil.example",
        "&lt;a href=x&gt;&colon;",
        "someone@evil.example",
        "`code` **b** ~~s~~ | a |",
    ],
)
def test_no_name_is_a_link_or_markup(answer: CheckAnswer, name: str) -> None:
    detail = str(card(named(answer, name))["detail"])
    assert not re.search(r"(?<!\\)[]\[<>`*~|&!]", detail)
    shown = re.sub(r"\\(.)", r"\1", detail)  # some renderers look for links behind the escapes
    assert not re.search(r"://|www\.|[\w.-]@", shown, re.IGNORECASE)


@pytest.mark.parametrize("gap", ["\n", "\n\n", "\r\n\r\n", "\u2028", "\x0b"])
def test_no_name_begins_a_line_of_its_own(answer: CheckAnswer, gap: str) -> None:
    detail = str(card(named(answer, f"甲{gap}- 可互认：乙"))["detail"])
    assert len(detail.splitlines()) == len(str(card(named(answer, "甲"))["detail"]).splitlines())


def test_the_name_of_a_node_behind_another_gateway_is_no_markup(answer: CheckAnswer) -> None:
    late = Report(node="[x](https://evil.example)", kind="fhir", state="late", took_ms=400, fault="node")
    detail = str(card(replace(answer, complete=False, nodes=(*answer.nodes, late)))["detail"])
    assert "[x](" not in detail


@pytest.mark.parametrize(("days", "words"), [(0, "当天"), (1, "1天前"), (400, "400天前")])
def test_the_age_of_a_result_is_told_in_days(answer: CheckAnswer, days: int, words: str) -> None:
    aged = tuple(
        replace(one, result=replace(one.result, performed=answer.answered_at - timedelta(days=days)))
        for one in answer.verdicts
    )
    assert f"（{words}）" in str(card(replace(answer, verdicts=aged))["detail"])


def test_a_result_without_a_day_says_so(answer: CheckAnswer) -> None:
    blank = tuple(
        replace(one, result=replace(one.result, performed=None, reported=None)) for one in answer.verdicts
    )
    assert "日期不详" in str(card(replace(answer, verdicts=blank))["detail"])


def test_nodes_that_were_not_heard_are_named_with_why(answer: CheckAnswer) -> None:
    late = Report(node="sc-his", kind="fhir", state="late", took_ms=400, fault="node")
    shown = card(replace(answer, complete=False, nodes=(*answer.nodes, late)))
    assert "sc-his（超时）" in str(shown["detail"])
    assert "查询不完整" in str(shown["summary"])
    assert shown["indicator"] == "warning"


def test_an_opened_chart_of_a_patient_who_objects_says_that_nobody_was_asked(answer: CheckAnswer) -> None:
    objected = ConsentRule(permitted=False, basis="consent", consent="c1", zh="患者不同意", en="objects")
    shown = card(replace(answer, complete=False, verdicts=(), advice=(), consent=objected))
    assert "未作查询" in str(shown["summary"])


def test_a_card_lists_so_many_results_and_says_how_many_more(answer: CheckAnswer) -> None:
    (one,) = [verdict for verdict in answer.verdicts if verdict.serves][:1]
    many = tuple(replace(one, result=replace(one.result, id=str(number))) for number in range(MOST_LINES + 5))
    detail = str(card(replace(answer, verdicts=many))["detail"])
    assert len(re.findall("胸部平扫", detail)) == MOST_LINES
    assert f"另有5项，见核对 {answer.id}" in detail


def test_a_card_has_no_more_links_than_results(answer: CheckAnswer) -> None:
    (one,) = [verdict for verdict in answer.verdicts if verdict.serves][:1]
    many = tuple(
        replace(
            one, verdict="view_only", result=replace(one.result, id=str(number), study_uid=f"1.2.{number}")
        )
        for number in range(MOST_LINES + 5)
    )
    links = card(replace(answer, verdicts=many), VIEWER)["links"]
    assert isinstance(links, list)
    assert len(links) == MOST_LINES


def test_a_result_that_two_places_tell_alike_is_shown_once(answer: CheckAnswer) -> None:
    (one,) = [verdict for verdict in answer.verdicts if verdict.serves][:1]
    twins = tuple(
        replace(one, result=replace(one.result, id=own), also=(other,)) for own, other in ("ab", "ba")
    )
    detail = str(card(replace(answer, verdicts=twins))["detail"])
    assert len(re.findall("胸部平扫", detail)) == 1
    assert "2处相同" in detail


def test_a_card_of_a_chart_is_about_all_that_may_be_recognised(his: httpx.Client) -> None:
    names = ("白细胞计数", "血小板计数", "血红蛋白")
    found = ask(his, body(*names, patient=BY_KEY["jia"].number))
    reception = replace(found, moment="reception")
    assert len(results_of(reception, "all") or []) == len(names)
    assert [results_of(reception, other) for other in ("0", "", "al")] == [None, None, None]


def test_an_answer_with_nothing_in_it_has_no_card() -> None:
    empty = msgspec.json.decode(
        b'{"id":"1","request_id":"1","receiver":{"code":"a","name":"b"},"asked_at":"2026-11-22T00:00:00Z",'
        b'"answered_at":"2026-11-22T00:00:00Z","catalogue":{"version":"1","illustrative":true,"notice_zh":"",'
        b'"notice_en":""},"complete":true,"advice":[],"verdicts":[],"unnamed":[],"nodes":[],'
        b'"ledger":{"origin":"o","entry":"e","index":0},"moment":"reception"}',
        type=CheckAnswer,
    )
    assert cards_of(empty, [], [], VIEWER) == []
