"""Every rule of the bundled catalogue has an example that it applies to, and one that it does not."""

from __future__ import annotations

import pytest

from recognition import explain
from tests.recognition.cases import catalogue, notes, rules
from tests.recognition.examples import FOLDER, Example, pairs

BOTH = [
    pytest.param(rule, example, applies, id=f"{rule}-{'applies' if applies else 'does_not_apply'}")
    for rule, pair in pairs().items()
    for example, applies in ((pair.applies, True), (pair.does_not_apply, False))
]


WITHOUT_PARTICULARS = {"R1.1", "R3.2", "R3.3", "R3.6", "R4.3", "R7.2", "R7.3", "R9.4"}


def test_every_rule_has_a_pair_of_examples_and_every_pair_a_rule() -> None:
    assert set(pairs()) == set(catalogue().rules), f"{FOLDER} and the rules of the catalogue differ"


def test_every_file_is_named_after_its_rule() -> None:
    assert {name: pair.rule for name, pair in pairs().items()} == {name: name for name in pairs()}


@pytest.mark.parametrize(("rule", "example", "applies"), BOTH)
def test_an_example_comes_to_its_verdict_by_its_rules(rule: str, example: Example, applies: bool) -> None:
    verdict = example.judged()
    assert (verdict.verdict, rules(verdict), notes(verdict)) == (
        example.verdict,
        example.rules,
        example.notes,
    )
    assert (rule in rules(verdict) + notes(verdict)) is applies


@pytest.mark.parametrize(("rule", "example", "applies"), BOTH)
def test_every_reason_names_the_step_its_code_and_the_words_of_its_rule(
    rule: str, example: Example, applies: bool
) -> None:
    for verdict in example.decided().verdicts:
        for reason in verdict.reasons + verdict.notes:
            words = catalogue().rule(reason.rule)
            assert (reason.step, reason.reason_code) == (words.step, words.reason_code)
            assert reason.zh.startswith(words.zh)
            assert reason.en.startswith(words.en)
            if words.when or reason.rule in WITHOUT_PARTICULARS:
                assert (reason.zh, reason.en) == (words.zh, words.en)


@pytest.mark.parametrize(("rule", "example", "applies"), BOTH)
def test_the_explanation_of_an_example_has_its_decision(rule: str, example: Example, applies: bool) -> None:
    explained = explain(example.check(), example.found(), example.rules_in_force())
    assert explained.decision == example.decided()
    found = {
        reason.rule
        for trace in explained.traces
        for step in trace.steps
        for reason in step.reasons + step.notes
        if trace.result == example.found()[0].id
    }
    assert found == (set(example.rules) | set(example.notes)) - {"R0.1"}
