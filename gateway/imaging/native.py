"""The Native DICOM Model (PS3.19 §A.1): DICOM JSON objects as XML, for those who ask for it.

Only lists are written so here, a part each (PS3.18 §8.7.3.2); metadata of images come from their archive.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from gateway.imaging.keywords import TAG, attribute_of
from gateway.imaging.merging import decoded

MEDIA = "application/dicom+xml"
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def related(body: bytes) -> tuple[bytes, str]:
    """A list of DICOM JSON as ``multipart/related`` of one XML document an object, and its media type."""
    boundary = secrets.token_hex(16)
    parts = [
        f"--{boundary}\r\nContent-Type: {MEDIA}; charset=utf-8\r\n\r\n{native(one)}\r\n"
        for one in decoded(body)
    ]
    text = "".join([*parts, f"--{boundary}--\r\n"])
    return text.encode(), f'multipart/related; type="{MEDIA}"; boundary={boundary}'


def native(dataset: Mapping[str, Any]) -> str:
    """One object of DICOM JSON as a document."""
    inner = "".join(_attributes(dataset))
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<NativeDicomModel xml:space="preserve" xmlns="{NAMESPACE}">{inner}</NativeDicomModel>'
    )


def _attributes(dataset: Mapping[str, Any]) -> Iterator[str]:
    for tag, element in sorted(dataset.items()):
        if not (isinstance(element, dict) and TAG.fullmatch(tag)):
            continue
        told = f"tag={_quoted(tag)} vr={_quoted(element.get('vr', 'UN'))}"
        if int(tag[3], 16) % 2 == 0:
            known = attribute_of(tag)
            told += f" keyword={_quoted(known.keyword)}" if known and known.keyword else ""
        elif creator := _creator(dataset, tag):
            told += f" privateCreator={_quoted(creator)}"
        yield f"<DicomAttribute {told}>{''.join(_content(element))}</DicomAttribute>"


def _content(element: Mapping[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={_quoted(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{_text(element['InlineBinary'])}</InlineBinary>"
    values = element.get("Value")
    for number, value in enumerate(values if isinstance(values, list) else (), 1):
        if value is None:
            continue
        if element.get("vr") == "SQ":
            inner, name = "".join(_attributes(value if isinstance(value, dict) else {})), "Item"
        elif element.get("vr") == "PN":
            inner, name = "".join(_groups(value if isinstance(value, dict) else {})), "PersonName"
        else:
            inner, name = _text(value), "Value"
        yield f'<{name} number="{number}">{inner}</{name}>'


def _groups(name: Mapping[str, Any]) -> Iterator[str]:
    for group in _GROUPS:
        if text := name.get(group):
            parts: Iterable[tuple[str, str]] = zip(_PARTS, str(text).split("^"), strict=False)
            yield f"<{group}>{''.join(f'<{n}>{_text(p)}</{n}>' for n, p in parts if p)}</{group}>"


def _creator(dataset: Mapping[str, Any], tag: str) -> str:
    """Who made the block of a private attribute (PS3.5 §7.8.1)."""
    element = dataset.get(f"{tag[:4]}00{tag[4:6]}") if tag[4:6] != "00" else None
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _text(value: object) -> str:
    return escape(_NO_XML.sub("\ufffd", str(value)))


def _quoted(value: object) -> str:
    return quoteattr(_NO_XML.sub("\ufffd", str(value)))
