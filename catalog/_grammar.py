"""The subset of CEL that a condition may use: its syntax, and one type for everything in it.

::

    either     = both { "||" both }
    both       = term { "&&" term }
    term       = { "!" } ( "(" either ")" | "true" | "false" | fact )        a fact that is true or false
               | operand ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand   of one type, one a fact
               | fact "in" "[" literal { "," literal } "]"                   of one type
    operand    = fact | literal
    literal    = "true" | "false" | whole number | 'text'

Order is for numbers only, and comparisons do not chain. What keeps to this evaluates without an error
whatever the values are, as long as each has its fact's type. Brackets and ``!`` go :data:`DEEPEST` deep: the
library's parser is recursive, and takes the process down where the stack is small (50 levels in 256 kB).
"""

from __future__ import annotations

import re

from msgspec import Struct

from catalog._facts import FACTS
from catalog.errors import ConditionRefused

DEEPEST = 10

_TOKEN = re.compile(
    r"[ \t\n]*(?:([a-z_]+)|([0-9]{1,6})(?![0-9a-z_])|'([^'\\\n\r]{0,60})'|(&&|\|\||[=!<>]=|[<>!()\[\],]))"
)


class _Token(Struct, frozen=True):
    """``sort`` is ``fact``, ``sign``, ``end`` or the type of a literal."""

    sort: str
    text: str

    @property
    def type(self) -> str:
        """The type of a fact or literal; empty for what has none."""
        return FACTS[self.text].type if self.sort == "fact" else self.sort if self.literal else ""

    @property
    def literal(self) -> bool:
        return self.sort in ("bool", "int", "text")


_COMPARE = frozenset(_Token("sign", text) for text in ("==", "!=", "<", "<=", ">", ">="))


def check_grammar(text: str) -> frozenset[tuple[str, str]]:
    """The facts of type text with the literals they are held against.

    Raises:
        ConditionRefused: the text does not keep to the grammar, or names a value that a fact never has.
    """
    reader = _Reader(_tokens(text))
    reader.either(0)
    if reader.next.sort != "end":
        reader.refuse("&& or || must stand between two conditions")
    return frozenset(reader.said)


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self.said: set[tuple[str, str]] = set()

    @property
    def next(self) -> _Token:
        return self._tokens[self._at]

    def refuse(self, what: str) -> None:
        where = f"at {self.next.text!r}" if self.next.sort != "end" else "at its end"
        raise ConditionRefused(f"cannot be read {where}: {what}")

    def either(self, depth: int) -> None:
        self._both(depth)
        while self._took("||"):
            self._both(depth)

    def _both(self, depth: int) -> None:
        self._term(depth)
        while self._took("&&"):
            self._term(depth)

    def _term(self, depth: int) -> None:
        if depth > DEEPEST:
            raise ConditionRefused(f"is nested more than {DEEPEST} deep; split it into two rules")
        if self._took("!"):
            denied = self.next
            self._term(depth + 1)
            if denied.type and self._tokens[self._at - 1] is not denied:  # ! binds closer than a comparison
                raise ConditionRefused("put brackets around the comparison that ! is to deny")
        elif self._took("("):
            self.either(depth + 1)
            self._take(")", "a bracket is not closed")
        else:
            self._relation()

    def _relation(self) -> None:
        left = self._operand()
        if self.next in _COMPARE:
            self._comparison(left)
        elif self._took("in"):
            self._list(left)
        elif left.type != "bool":
            advice = "compare it with a value" if left.sort == "fact" else "compare a fact with it"
            raise ConditionRefused(f"{left.text!r} is not true or false; {advice}")

    def _comparison(self, left: _Token) -> None:
        sign = self._advance().text
        right = self._operand()
        if left.literal and right.literal:
            raise ConditionRefused(f"compares {left.text!r} with {right.text!r}; one side must be a fact")
        self._alike(left, right)
        if sign not in ("==", "!=") and left.type != "int":
            raise ConditionRefused(f"{left.text!r} has no order; compare it with == or !=")

    def _list(self, fact: _Token) -> None:
        if fact.sort != "fact":
            raise ConditionRefused(f"'in' must stand between a fact and a list; {fact.text!r} is no fact")
        self._take("[", "'in' must stand between a fact and a list such as ['a', 'b']")
        while True:
            if not self.next.literal:
                self.refuse("a list holds literals, such as ['a', 'b']")
            self._alike(fact, self._advance())
            if not self._took(","):
                break
        self._take("]", "a list is not closed")

    def _operand(self) -> _Token:
        if not self.next.type:
            self.refuse("a fact, a bracket, true or false must stand here")
        return self._advance()

    def _advance(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _took(self, sign: str) -> bool:
        taken = self.next == _Token("sign", sign)
        self._at += taken
        return taken

    def _take(self, sign: str, fault: str) -> None:
        if not self._took(sign):
            self.refuse(fault)

    def _alike(self, one: _Token, other: _Token) -> None:
        if one.type != other.type:
            message = f"{one.text!r} and {other.text!r} are of unlike types, {one.type} and {other.type}"
            raise ConditionRefused(message)
        fact, literal = (other, one) if one.literal else (one, other)
        if literal.sort == "text":
            values = FACTS[fact.text].values
            if values and literal.text not in values:
                raise ConditionRefused(
                    f"{fact.text} is never {literal.text!r}; write one of: {', '.join(values)}"
                )
            self.said.add((fact.text, literal.text))


def _tokens(text: str) -> list[_Token]:
    if not text.strip():
        raise ConditionRefused("is empty; write true for a line that always applies")
    found: list[_Token] = []
    text, at = text.rstrip(" \t\n"), 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ConditionRefused(
                f"cannot be read from {text[at : at + 20]!r}; use facts, whole numbers, 'text', == != < <="
                " > >= in && || ! and brackets"
            )
        name, number, quoted, sign = token.groups()
        if name in FACTS:
            found.append(_Token("fact", name))
        elif name in ("true", "false"):
            found.append(_Token("bool", name))
        elif name == "in" or sign:
            found.append(_Token("sign", name or sign))
        elif name:
            raise ConditionRefused(f"{name!r} is no fact; the facts are {', '.join(FACTS)}")
        else:
            found.append(_Token("int", number) if number else _Token("text", quoted))
        at = token.end()
    return [*found, _Token("end", "")]
