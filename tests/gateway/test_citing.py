"""Citations: a sentence for the record that says all that leads back to the result, recorded once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.citing import CitationsOut, text_of
from gateway.demo.people import BY_KEY
from gateway.model import CheckAnswer, Coded, VerdictOut, WithdrawnOut
from recognition import Converted
from tests.gateway.live import PATIENT, Live, ask, body, persons_in

SEVERAL, NEVER_MARKED = BY_KEY["jia"].number, BY_KEY["geng"].number


@pytest.fixture
def answer(his: httpx.Client) -> CheckAnswer:
    return ask(his, body())


def send(his: httpx.Client, answer: CheckAnswer, **fields: Any) -> httpx.Response:
    return his.post(f"/api/v1/checks/{answer.id}/citations", json=fields)


def cite(his: httpx.Client, answer: CheckAnswer, **fields: Any) -> CitationsOut:
    response = send(his, answer, **fields)
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=CitationsOut)


def test_a_citation_has_all_that_leads_back_to_the_result(his: httpx.Client, answer: CheckAnswer) -> None:
    (verdict,) = answer.verdicts
    assert verdict.mark is not None
    text = cite(his, answer).text
    told = ("重庆示例第一医院", "白蛋白 40.8 g/L", "1100104A", "川渝HR", "可互认", "采样", "报告")
    assert [
        one for one in (*told, verdict.mark.id, answer.id, answer.catalogue.version) if one not in text
    ] == []


def test_a_citation_is_written_in_english_too(his: httpx.Client, answer: CheckAnswer) -> None:
    text = cite(his, answer, lang="en").text
    assert text.startswith("Result of 重庆示例第一医院 (sampled ")
    assert "; recognition mark 川渝HR, " in text
    assert ": recognised; catalogue " in text


def test_a_citation_of_an_illustrative_catalogue_says_so(his: httpx.Client, answer: CheckAnswer) -> None:
    assert "（示例目录，非正式）" in cite(his, answer).text


def test_a_citation_names_no_person(his: httpx.Client, answer: CheckAnswer) -> None:
    assert persons_in(cite(his, answer).text) == []


def test_without_results_all_that_are_recognised_are_cited(his: httpx.Client) -> None:
    planned = [{"name": name} for name in ("白细胞计数", "血小板计数", "胸部CT平扫")]
    answer = ask(his, body(patient=SEVERAL) | {"planned": planned})
    cited = cite(his, answer)
    assert [one.result for one in cited.citations] == [one.result.id for one in answer.verdicts[:2]]
    assert cited.text.splitlines() == [one.text for one in cited.citations]


def test_what_is_only_to_be_viewed_is_cited_by_name_with_its_reason(his: httpx.Client) -> None:
    answer = ask(his, body(patient=NEVER_MARKED))
    text = cite(his, answer, results=[answer.verdicts[0].result.id]).text
    assert "联认核对仅供调阅：没有经签名的互认标识" in text


def test_where_nothing_is_recognised_a_result_has_to_be_named(his: httpx.Client) -> None:
    refused = send(his, ask(his, body(patient=NEVER_MARKED)))
    assert (refused.status_code, refused.json()["field"]) == (422, "results")


def test_a_result_of_another_check_is_refused_by_its_place(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    kept = gateway.kept()
    refused = send(his, answer, results=[answer.verdicts[0].result.id, "other"])
    assert (refused.status_code, refused.json()["field"]) == (422, "results[1]")
    assert gateway.kept() == kept


def test_a_citation_is_an_outcome_and_recorded_once(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    kept = gateway.kept()
    first = cite(his, answer)
    assert first.citations[0].outcome.outcome == "cited"
    assert cite(his, answer) == first
    assert gateway.kept()[:2] == (kept[0] + 1, kept[1] + 1)


def test_a_citation_decides_nothing(his: httpx.Client, answer: CheckAnswer) -> None:
    cite(his, answer)
    assert his.get(f"/api/v1/reminders/{answer.id}").json()["open"] == 1


def test_the_text_alone_is_given_where_it_is_asked_for(his: httpx.Client, answer: CheckAnswer) -> None:
    headers = {"Accept": "text/plain"}
    given = his.post(f"/api/v1/checks/{answer.id}/citations", json={}, headers=headers)
    assert given.headers["content-type"] == "text/plain; charset=utf-8"
    assert given.headers["cache-control"] == "no-store"
    assert given.text == f"{cite(his, answer).text}\n"


def test_a_client_that_accepts_everything_gets_json(his: httpx.Client, answer: CheckAnswer) -> None:
    headers = {"Accept": "application/json, text/plain, */*"}  # as axios asks
    given = his.post(f"/api/v1/checks/{answer.id}/citations", json={}, headers=headers)
    assert given.json()["check"] == answer.id


def test_another_institution_cites_nothing_of_it(gateway: Live, answer: CheckAnswer) -> None:
    assert send(gateway.client("other"), answer).status_code == 404


def test_an_auditor_cites_nothing(gateway: Live, answer: CheckAnswer) -> None:
    assert send(gateway.client("auditor"), answer).status_code == 403


def altered(verdict: VerdictOut, **fields: Any) -> VerdictOut:
    return structs.replace(verdict, result=structs.replace(verdict.result, **fields))


def test_a_converted_value_stands_beside_the_one_that_was_written(answer: CheckAnswer) -> None:
    converted = Converted("4.08", "g/dL", "0.1", "示例来源")
    verdict = altered(answer.verdicts[0], reference="35-55")
    text = text_of(structs.replace(verdict, converted=converted), answer, "zh")
    assert "白蛋白 40.8 g/L (折合 4.08 g/dL) (参考范围 35-55)；" in text


def test_an_examination_is_cited_by_its_study(answer: CheckAnswer) -> None:
    verdict = altered(answer.verdicts[0], kind="imaging", value="", unit="", study_uid="1.2.3")
    assert "；检查号1.2.3；" in text_of(verdict, answer, "zh")


def test_a_withdrawn_mark_is_said_beside_the_verdict(answer: CheckAnswer) -> None:
    result, mark = answer.verdicts[0].result.id, answer.verdicts[0].mark
    assert mark is not None
    withdrawn = WithdrawnOut(
        result=result,
        mark=mark.id,
        reason="amended",
        at=datetime(2026, 11, 22, 4, tzinfo=UTC),
        zh="报告已更正",
        en="amended",
    )
    later = structs.replace(answer, withdrawn=(withdrawn,))
    assert text_of(answer.verdicts[0], later, "zh").endswith(
        "注意：该标识已于2026-11-22 12:00撤回（报告已更正）。"
    )
    assert text_of(answer.verdicts[0], later, "en").endswith("withdrawn 2026-11-22 12:00 (amended).")


def test_an_institution_without_a_name_is_cited_by_its_code(answer: CheckAnswer) -> None:
    verdict = altered(answer.verdicts[0], institution=Coded("XX-01", ""))
    assert text_of(verdict, answer, "zh").startswith("引用XX-01检验结果")


def test_a_result_without_a_time_is_cited_as_such(answer: CheckAnswer) -> None:
    verdict = altered(answer.verdicts[0], performed=None, reported=None)
    assert "（时间不详）" in text_of(verdict, answer, "zh")


@pytest.mark.parametrize("state", ["invalid", "withdrawn", "unverifiable", "unsigned"])
def test_a_mark_that_counts_for_nothing_is_not_cited(answer: CheckAnswer, state: Any) -> None:
    mark = answer.verdicts[0].mark
    assert mark is not None
    verdict = structs.replace(answer.verdicts[0], mark=structs.replace(mark, state=state))
    assert "互认标识" not in text_of(verdict, answer, "zh")
    assert "recognition mark" not in text_of(verdict, answer, "en")


def test_a_hospitals_words_cannot_be_taken_for_ours(answer: CheckAnswer) -> None:
    name = "白蛋白」；互认标识川渝HR，编号1；联认核对可互认。「"
    text = text_of(altered(answer.verdicts[0], local_name=name, value="40.8；可互认"), answer, "zh")
    assert "；「白蛋白』；互认标识川渝HR，编号1；联认核对可互认。『」 「40.8；可互认」 g/L；" in text


def test_a_reason_that_repeats_what_a_hospital_wrote_is_one_line_and_no_part_of_its_own(
    answer: CheckAnswer,
) -> None:
    reason = structs.replace(
        answer.verdicts[0].reasons[0], zh="单位不符（g\n；可互认）", en="unit (g\n; recognised)"
    )
    verdict = structs.replace(answer.verdicts[0], verdict="view_only", reasons=(reason,))
    assert "仅供调阅：「单位不符（g ；可互认）」；" in text_of(verdict, answer, "zh")
    assert "to view only: 「unit (g ; recognised)」; " in text_of(verdict, answer, "en")


def test_characters_that_turn_or_hide_a_text_are_left_out(answer: CheckAnswer) -> None:
    text = text_of(altered(answer.verdicts[0], local_name="白\u202e蛋\u200b白\x1b[1m\x00"), answer, "zh")
    assert "；白 蛋 白 [1m 40.8 g/L；" in text


@pytest.fixture(scope="module")
def one_answer(gateway: Live) -> CheckAnswer:
    return ask(gateway.client(), body(patient=PATIENT))


@given(name=st.text(min_size=1, max_size=60), value=st.text(max_size=20), lang=st.sampled_from(["zh", "en"]))
def test_whatever_a_hospital_writes_a_citation_is_one_line(
    one_answer: CheckAnswer, name: str, value: str, lang: Any
) -> None:
    text = text_of(altered(one_answer.verdicts[0], local_name=name, value=value), one_answer, lang)
    assert len(text.splitlines()) == 1
