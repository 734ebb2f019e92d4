"""Conditions: what compiles can be asked of any facts, and everything else is refused with a reason."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import FACTS, Condition, ConditionRefused, compile_condition
from catalog._grammar import DEEPEST
from catalog.conditions import LONGEST, Value

BOOLS = [name for name, fact in FACTS.items() if fact.type == "bool"]
INTS = [name for name, fact in FACTS.items() if fact.type == "int"]
TEXTS = [name for name, fact in FACTS.items() if fact.type == "text" and not fact.values]

plain_text = st.text(st.characters(exclude_characters="'\\\r\n", exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 999_999).map(str)
quoted = plain_text.map(lambda text: f"'{text}'")
equal = st.sampled_from(["==", "!="])
ordered = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(" ".join)


def listed(facts: list[str], literals: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(literals, min_size=1, max_size=4).map(lambda parts: f"[{', '.join(parts)}]")
    return joined(st.sampled_from(facts), st.just("in"), several)


terms = st.one_of(
    st.sampled_from(BOOLS),
    st.sampled_from(["true", "false"]),
    joined(st.sampled_from(INTS), ordered, st.sampled_from(INTS) | numbers),
    joined(numbers, ordered, st.sampled_from(INTS)),
    joined(st.sampled_from(TEXTS), equal, st.sampled_from(TEXTS) | quoted),
    joined(st.sampled_from(BOOLS), equal, st.sampled_from([*BOOLS, "true", "false"])),
    listed(INTS, numbers),
    listed(TEXTS, quoted),
)
conditions = st.recursive(
    terms,
    lambda inner: st.one_of(
        joined(inner, st.sampled_from(["&&", "||"]), inner),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=8,
).filter(lambda text: len(text) <= LONGEST)
tokens = st.lists(
    st.one_of(
        st.sampled_from([*FACTS, "true", "false", "in", "&&", "||", "!", "(", ")", "[", "]", ","]),
        st.sampled_from(
            ["==", "<", ">=", "item[0]", "size(item)", "has(item)", "1 + 1", "''", "a.b", "null"]
        ),
        numbers,
        quoted,
    ),
    max_size=12,
).map(" ".join)

_VALUES: dict[str, st.SearchStrategy[Value]] = {
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "text": plain_text,
}
values = st.fixed_dictionaries({name: _VALUES[fact.type] for name, fact in FACTS.items()})


def refusal(text: str) -> str:
    with pytest.raises(ConditionRefused) as caught:
        compile_condition(text)
    return str(caught.value)


def holds(text: str, **facts: Value) -> bool:
    return compile_condition(text).holds(facts)


def compiled(text: str) -> Condition | None:
    try:
        return compile_condition(text)
    except ConditionRefused:
        return None


@given(st.text(max_size=LONGEST + 10) | tokens, values)
def test_any_text_is_refused_or_can_be_asked_of_any_facts(text: str, facts: dict[str, Value]) -> None:
    condition = compiled(text)
    assert condition is None or condition.holds(facts) in (True, False)


@given(conditions, values)
def test_whatever_keeps_to_the_grammar_compiles_and_can_be_asked(text: str, facts: dict[str, Value]) -> None:
    assert compile_condition(text).holds(facts) in (True, False)


@given(conditions)
def test_a_condition_depends_on_the_facts_that_it_names_and_no_others(text: str) -> None:
    assert compile_condition(text).facts <= FACTS.keys()


@given(st.sampled_from(TEXTS), plain_text, plain_text)
def test_a_text_equals_itself_only(fact: str, one: str, other: str) -> None:
    assert holds(f"{fact} == '{one}'", **{fact: other}) == (one == other)


@given(st.sampled_from(INTS), st.integers(0, 999_999), st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_compared_as_numbers(fact: str, one: int, other: int) -> None:
    assert holds(f"{fact} > {one}", **{fact: other}) == (other > one)


@pytest.mark.parametrize("facts", [*product([True, False], repeat=3)])
def test_and_binds_closer_than_or_and_not_closer_still(facts: tuple[bool, bool, bool]) -> None:
    one, two, three = facts
    given_facts = {"emergency": one, "forensic": two, "abnormal": three}
    expected = (not one) or (two and three)
    assert holds("!emergency || forensic && abnormal", **given_facts) == expected


def test_a_list_holds_what_is_in_it() -> None:
    assert holds("setting in ['emergency', 'inpatient']", setting="inpatient")
    assert not holds("setting in ['emergency', 'inpatient']", setting="outpatient")


def test_blanks_and_line_breaks_between_words_mean_nothing() -> None:
    assert holds("age_hours\n>\t72 ", age_hours=73)


REFUSED = [
    ("", "is empty"),
    (" \n", "is empty"),
    ("full_moon", "the facts are setting, emergency"),
    ("age_hours", "not true or false"),
    ("setting", "not true or false"),
    ("5", "compare a fact with it"),
    ("'x'", "compare a fact with it"),
    ("setting == 5", "unlike types, text and int"),
    ("age_hours == 'x'", "unlike types, int and text"),
    ("abnormal == 1", "unlike types, bool and int"),
    ("age_hours < abnormal", "unlike types, int and bool"),
    ("disease < 'x'", "has no order"),
    ("abnormal < true", "has no order"),
    ("disease in ['x', 5]", "unlike types, text and int"),
    ("age_hours in [setting]", "a list holds literals"),
    ("setting in []", "a list holds literals"),
    ("disease in ['x',]", "a list holds literals"),
    ("disease in ['x'", "a list is not closed"),
    ("setting in 'x'", "'in' must stand between"),
    ("'x' in ['x']", "'x' is no fact"),
    ("1 == 1", "one side must be a fact"),
    ("age_hours < sites < 3", "must stand between two conditions"),
    ("(age_hours < sites) == true", "must stand between two conditions"),
    ("!age_hours < 3", "brackets around the comparison"),
    ("!emergency == forensic", "brackets around the comparison"),
    ("!setting", "not true or false"),
    ("!", "at its end"),
    ("emergency &&", "at its end"),
    ("&& emergency", "at '&&'"),
    ("emergency forensic", "must stand between two conditions"),
    ("(emergency", "a bracket is not closed"),
    ("emergency)", "must stand between two conditions"),
    ("emergency && item[0]", "not true or false"),
    ("emergency && abnormal(item)", "must stand between two conditions"),
    ("item.size() > 3", "cannot be read from '.size() > 3'"),
    ("age_hours + 1 > 3", "cannot be read from ' + 1 > 3'"),
    ("age_hours > -1", "cannot be read from ' -1'"),
    ("age_hours > 1.5", "cannot be read from '.5'"),
    ("age_hours > 1000000", "cannot be read from ' 1000000'"),
    ('setting == "x"', "cannot be read from"),
    ("setting == 'a\\n'", "cannot be read from"),
    ("disease == '\ud800'", "is no CEL expression"),
    ("emergency ? true : false", "cannot be read from"),
    ("emergency // really", "cannot be read from"),
    ("emergency　&& forensic", "cannot be read from"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED, ids=[ascii(text) for text, _ in REFUSED])
def test_what_is_outside_the_grammar_is_refused_when_the_catalogue_is_validated(text: str, says: str) -> None:
    assert says in refusal(text)


def test_a_text_of_the_greatest_length_compiles() -> None:
    text = " || ".join(["emergency"] * 38)
    assert compile_condition(text.ljust(LONGEST)).facts == {"emergency"}


def test_a_longer_text_is_refused() -> None:
    assert "501 characters" in refusal("emergency".ljust(LONGEST + 1))


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("!", ""), ("!(", ")")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    levels = DEEPEST // len(opening)
    compile_condition(opening * levels + "emergency" + closing * levels)
    assert "nested" in refusal(opening * (levels + 1) + "emergency" + closing * (levels + 1))


def printed(code: str) -> str:
    """What a process of its own prints: a fault of the library would end this one."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout


def test_the_deepest_and_longest_conditions_fit_a_small_stack() -> None:
    assert (
        printed(f"""
import threading
from catalog import compile_condition
deep = "(" * {DEEPEST} + "emergency" + ")" * {DEEPEST}
def ask():
    for text in (deep, "||".join([deep] * 14), "&&".join(["emergency"] * 45), "||".join(["true"] * 83)):
        compile_condition(text).holds({{"emergency": True}})
    print("asked")
threading.stack_size(256 * 1024)
thread = threading.Thread(target=ask)
thread.start()
thread.join()
""")
        == "asked\n"
    )


def test_threads_that_compile_at_once_share_one_library() -> None:
    assert (
        printed("""
import sys, threading
from catalog import compile_condition
sys.setswitchinterval(1e-6)
gate, compiled = threading.Barrier(8), []
def ask():
    gate.wait()
    compiled.append(compile_condition("emergency"))
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(compiled))
""")
        == "8\n"
    )


def test_the_costliest_condition_is_asked_in_bounded_time() -> None:
    condition = compile_condition(" && ".join(["age_hours != 7"] * 27))
    started = time.process_time()
    for _ in range(1000):
        condition.holds({"age_hours": 8})
    assert time.process_time() - started < 1  # 1 ms each; measured: 0.01 ms


def test_every_fact_has_words_in_both_languages() -> None:
    assert all(fact.zh and fact.en for fact in FACTS.values())
