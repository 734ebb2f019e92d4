"""Conditions of the negative list and of level rules: a typed subset of CEL, the Common Expression Language.

A condition is at most :data:`LONGEST` characters of named facts, comparisons of facts with literals or with
each other, ``in`` a list of literals, ``&&``, ``||``, ``!`` and brackets::

    pre_operation || (abnormal && age_hours > 72) || setting in ['emergency', 'inpatient']

There is no arithmetic, call, macro or member access, so that its cost is bounded by its length, and every
fact has one type (:data:`FACTS`), so that a wrong comparison is found when a catalogue is validated and
never at the bedside: :mod:`catalog._grammar` reads the text before the library does. The evaluation itself
is that of `common-expression-language`, the Rust implementation. Measured on one core, two facts: 0.2 to
0.4 µs an evaluation, against 83 µs of `cel-python`, whose regular expressions and macros would also have to
be kept out. Left to itself it would skip what a short circuit hides (``abnormal && item[0]``), compare
unlike types without an error (CEL's heterogeneous equality), and overflow its stack on deep nesting.

Source: CEL language definition (github.com/google/cel-spec), sections syntax and equality.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from threading import Lock
from typing import Any

from msgspec import Struct

from catalog._facts import FACTS, Fact, FactType, Value
from catalog._grammar import check_grammar
from catalog.errors import ConditionRefused

__all__ = ["FACTS", "LONGEST", "Condition", "ConditionRefused", "Fact", "Value", "compile_condition"]

LONGEST = 500


class Condition(Struct, frozen=True):
    """A condition ready to be asked.

    ``facts`` are the names that it depends on, ``said`` those of type text with the values it names.
    """

    text: str
    facts: frozenset[str]
    said: frozenset[tuple[str, str]]
    program: Any

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether it holds; ``values`` has at least the facts it depends on, each of its type."""
        return bool(self.program.execute({name: values[name] for name in self.facts}))


def compile_condition(text: str) -> Condition:
    """Check and compile a condition.

    Raises:
        ConditionRefused: syntax outside the subset, an unknown fact, a value that a fact never has, or a
            comparison of unlike types.
    """
    if len(text) > LONGEST:
        raise ConditionRefused(f"has {len(text)} characters, the most is {LONGEST}; split it into two rules")
    said = check_grammar(text)
    cel = _cel()
    try:
        program = cel.compile(text)
        names = frozenset(program.variables())
        # Once with every fact at its zero: what the library alone would refuse, it refuses here.
        program.execute({name: _ZERO[FACTS[name].type] for name in names})
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as wrong:  # a panic of the Rust library is no Exception
        words = (str(wrong) or type(wrong).__name__).splitlines()[0][:160]
        raise ConditionRefused(f"is no CEL expression: {words}") from None
    return Condition(text, names, said, program)


_ZERO: dict[FactType, Value] = {"bool": False, "int": 0, "text": ""}


_LOADING = Lock()


def _cel() -> Any:
    """The extension module alone: its package imports a command line with it, which takes 0.2 s.

    It may be initialised once a process, and panics the second time.
    """
    with _LOADING:
        if (loaded := sys.modules.get("cel.cel")) is not None:
            return loaded
        package = find_spec("cel")
        spec = PathFinder.find_spec("cel.cel", package.submodule_search_locations if package else None)
        if spec is None or spec.loader is None:
            raise ImportError("common-expression-language is not installed")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["cel.cel"] = module
        return module
