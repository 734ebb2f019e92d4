"""Narratives: the XHTML that R4 allows (narrative.html, txt-1 and txt-2), because browsers show them."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

NOT_ALLOWED = "txt-1, txt-2: not an XHTML div that says something in the elements and attributes R4 allows"

_XHTML = "{http://www.w3.org/1999/xhtml}"
_ELEMENTS = """
a abbr acronym address area b basefont bdo big blockquote br caption center cite code col colgroup dd dfn div
dl dt em font h1 h2 h3 h4 h5 h6 hr i img kbd li map ol p pre q s samp small span strike strong sub sup
table tbody td tfoot th thead tr tt u ul var
"""
_ATTRIBUTES = """
abbr accesskey align alt axis bgcolor border cellpadding cellspacing char charoff charset cite class clear
color colspan compact coords dir face frame headers height href hreflang id idref lang longdesc name nohref
noshade nowrap rel rev rowspan rules scope shape size span src start style summary tabindex target title type
usemap valign value width
{http://www.w3.org/XML/1998/namespace}lang {http://www.w3.org/XML/1998/namespace}space
"""
_KNOWN, _HARMLESS = frozenset(_ELEMENTS.split()), frozenset(_ATTRIBUTES.split())
_ACTIVE = re.compile(r"(?:javascript|vbscript|data:(?!image/))", re.IGNORECASE)
_PASSED_OVER = re.compile(r"[\x00-\x20]+")
"""What browsers leave out of an address, so that it hides nothing."""


def is_narrative(text: str) -> bool:
    """Whether it is a well-formed ``div`` that says something, of formatting, links and images alone."""
    try:
        div = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, UnicodeEncodeError):
        return False
    return div.tag == f"{_XHTML}div" and _says(div) and all(map(_allowed, div.iter()))


def _says(div: Element) -> bool:
    return bool("".join(div.itertext()).strip()) or div.find(f".//{_XHTML}img") is not None


def _allowed(element: Element) -> bool:
    return (
        isinstance(element.tag, str)
        and element.tag.removeprefix(_XHTML) in _KNOWN
        and _HARMLESS.issuperset(element.keys())
        and not any(_ACTIVE.match(_PASSED_OVER.sub("", element.get(name, ""))) for name in ("href", "src"))
    )
