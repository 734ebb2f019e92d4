"""One patient and one order, asked at three faces: one decision."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.demo.people import BY_KEY
from tests.contract.calls import FHIR, hook, order, parameters, patient
from tests.gateway.live import Live, body

Told = dict[str, Any]
CASES = [
    ("ding", ("白蛋白",)),
    ("geng", ("白蛋白",)),
    ("chou", ("血糖",)),
    ("ding", ("肝功能12项",)),
    ("jia", ("白细胞计数", "血红蛋白", "某院特需套餐乙")),
]


def told_by_answer(answer: Told) -> Told:
    """What a decision says, from the plain JSON of REST and of the CDS extension."""
    return {
        "verdicts": sorted(
            (
                verdict["result"]["id"],
                verdict["verdict"],
                tuple(reason["rule"] for reason in verdict["reasons"]),
                verdict["item"] and verdict["item"]["code"],
                verdict["serves"] and verdict["serves"]["code"],
                (verdict["mark"] and verdict["mark"]["signed"]) or None,
                tuple(note["rule"] for note in verdict["notes"]),
                *(verdict["result"][name] or None for name in ("value", "unit", "reference")),
                verdict["converted"] and verdict["converted"]["value"],
            )
            for verdict in answer["verdicts"]
        ),
        "advice": [
            (
                advice["planned"],
                [item["code"] for item in advice["served"]],
                [item["code"] for item in advice["to_order"]],
                [(best["item"]["code"], best["result"], best["others"]) for best in advice["best"]],
                advice["zh"],
                advice["en"],
            )
            for advice in answer["advice"]
        ],
        "notice": answer["catalogue"]["notice_zh"],
        "unnamed": [(unnamed["name"], unnamed["reason"]) for unnamed in answer["unnamed"]],
        "nodes": [(node["node"], node["state"]) for node in answer["nodes"]],
        "complete": answer["complete"],
        "catalogue": answer["catalogue"]["version"],
    }


def told_by_parameters(answer: Told) -> Told:
    """The same, from the Parameters of the FHIR operation."""

    def value(part: Told) -> Any:
        held = next((held for name, held in part.items() if name.startswith("value")), part.get("part"))
        return held["code"] if isinstance(held, dict) and "code" in held else held

    def parts(parameter: Told) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for part in parameter["part"]:
            found.setdefault(part["name"], []).append(value(part))
        return found

    def named(name: str) -> list[dict[str, list[Any]]]:
        return [parts(parameter) for parameter in answer["parameter"] if parameter["name"] == name]

    def first(part: dict[str, list[Any]], name: str) -> Any:
        return part.get(name, [None])[0]

    def inner(listed: list[Told]) -> Told:
        return {part["name"]: value(part) for part in listed}

    single = {parameter["name"]: value(parameter) for parameter in answer["parameter"]}
    return {
        "verdicts": sorted(
            (
                first(verdict, "result"),
                first(verdict, "verdict"),
                tuple(
                    value(part) for reason in verdict["reason"] for part in reason if part["name"] == "rule"
                ),
                *(first(verdict, name) for name in ("item", "serves", "mark")),
                tuple(inner(note)["rule"] for note in verdict.get("note", [])),
                *(first(verdict, name) for name in ("value", "unit", "reference")),
                inner(first(verdict, "converted") or []).get("value"),
            )
            for verdict in named("verdict")
        ),
        "advice": [
            (
                first(advice, "planned"),
                advice.get("served", []),
                advice.get("toOrder", []),
                [tuple(list(inner(best).values())[:3]) for best in advice.get("best", [])],
                first(advice, "zh"),
                first(advice, "en"),
            )
            for advice in named("advice")
        ],
        "unnamed": [(first(unnamed, "name"), first(unnamed, "reason")) for unnamed in named("unnamed")],
        "nodes": [(first(node, "node"), first(node, "state")) for node in named("node")],
        "complete": single["complete"],
        "catalogue": single["catalogue"],
        "notice": inner(single["notice"])["zh"],
    }


@pytest.mark.parametrize(("person", "names"), CASES)
def test_the_three_faces_give_one_decision(gateway: Live, person: str, names: tuple[str, ...]) -> None:
    his, number = gateway.client(), BY_KEY[person].number
    orders = [order(name) for name in names]
    rest = his.post("/api/v1/checks", json=body(*names, patient=number))
    fhir = his.post(
        "/fhir/ServiceRequest/$check-recognition",
        json=parameters(*orders, who=patient(number)),
        headers={"Content-Type": FHIR},
    )
    cds = his.post("/cds-services/result-recognition", json=hook(*orders, who=patient(number)))
    assert [answer.status_code for answer in (rest, fhir, cds)] == [200, 200, 200]
    said = told_by_answer(rest.json())
    assert told_by_parameters(fhir.json()) == said
    assert told_by_answer(cds.json()["extension"]["org.lianren.decision"]) == said


@pytest.mark.parametrize(("person", "names"), CASES)
def test_the_cards_say_the_advice_and_the_notes_of_the_decision(
    gateway: Live, person: str, names: tuple[str, ...]
) -> None:
    called = hook(*(order(name) for name in names), who=patient(BY_KEY[person].number))
    told = gateway.client().post("/cds-services/result-recognition", json=called).json()
    decision = told["extension"]["org.lianren.decision"]
    for card, advice in zip(told["cards"], decision["advice"], strict=False):
        assert card["summary"].startswith(f"{advice['planned']}：{advice['zh']}"[:138])
        for item in advice["to_order"] if advice["served"] else []:
            assert plain(item["name"]) in plain(card["detail"])
    served = {item["code"] for advice in decision["advice"] for item in advice["served"]}
    details = plain("".join(card["detail"] for card in told["cards"]))
    for verdict in decision["verdicts"]:
        if verdict["serves"] and verdict["serves"]["code"] in served:
            assert all(plain(note["zh"]) in details for note in verdict["notes"])


def plain(markdown: str) -> str:
    return markdown.replace("\\", "")


def test_an_answer_given_at_one_face_is_read_again_at_rest(gateway: Live) -> None:
    his = gateway.client()
    decision = his.post("/cds-services/result-recognition", json=hook()).json()["extension"]
    given = decision["org.lianren.decision"]
    assert his.get(f"/api/v1/checks/{given['id']}").json() == given


def test_what_came_by_one_face_is_repeated_at_another(gateway: Live) -> None:
    his, call = gateway.client(), hook()
    decision = his.post("/cds-services/result-recognition", json=call).json()["extension"]
    asked = body() | {"request_id": call["hookInstance"]}
    assert his.post("/api/v1/checks", json=asked).json() == decision["org.lianren.decision"]


def test_an_order_of_priority_stat_is_asked_as_an_emergency(gateway: Live) -> None:
    his = gateway.client("his")
    plain = his.post("/api/v1/checks", json=body(context={"emergency": True})).json()
    urgent = order() | {"priority": "stat"}
    hooked = his.post("/cds-services/result-recognition", json=hook(urgent)).json()
    rules = {reason["rule"] for verdict in plain["verdicts"] for reason in verdict["reasons"]}
    assert "N4" in rules
    assert told_by_answer(hooked["extension"]["org.lianren.decision"]) == told_by_answer(plain)
