"""The Subscription resource as the backport has it, read strictly, and what is written of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from gateway.body import BadBody
from gateway.resources.intake import validated
from gateway.resources.issues import Issue, ResourceRefused
from gateway.subscriptions.values import TOPICS, Content, Event, Kept, State

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
MEDIA = "application/fhir+json"
MOST_EVENTS = 20
_PAYLOAD, _HEARTBEAT = f"{BACKPORT}/backport-payload-content", f"{BACKPORT}/backport-heartbeat-period"
_MOST, _FILTER = f"{BACKPORT}/backport-max-count", f"{BACKPORT}/backport-filter-criteria"
_NUMBER = re.compile(r"(?<![0-9A-Za-z])(?:[0-9]{15}|[0-9]{17}[0-9Xx])(?![0-9A-Za-z])")
"""A person's number: addresses end in logs."""
LARGEST = 16 * 1024
"""Bytes of a Subscription: each look for events reads them all."""
_SHORTEST = 60
"""Seconds between heartbeats, at least."""


class _Extension(Struct, rename="camel"):
    url: str = ""
    value_code: str = ""
    value_unsigned_int: int = 0
    value_positive_int: int = 0


class _Extended(Struct):
    extension: tuple[_Extension, ...] = ()


class _Channel(Struct, rename="camel"):
    type: str = ""
    endpoint: str = ""
    payload: str = ""
    payload_more: _Extended = field(default_factory=_Extended, name="_payload")
    header: tuple[str, ...] = ()
    extension: tuple[_Extension, ...] = ()


class _Subscription(Struct, rename="camel"):
    status: str = ""
    criteria: str = ""
    criteria_more: _Extended = field(default_factory=_Extended, name="_criteria")
    end: str = ""
    channel: _Channel = field(default_factory=_Channel)


class Wanted(Struct, frozen=True, kw_only=True):
    """What a Subscription asks for; see :class:`gateway.subscriptions.values.Kept`."""

    topic: str
    endpoint: str
    content: Content
    end: datetime | None
    heartbeat: int
    most: int
    off: bool


def wanted(raw: bytes, id_: str = "") -> Wanted:
    """What a Subscription asks for, to be put at ``id_`` where one is given.

    Raises:
        BadBody: 400 for what is no JSON, or has another id or none (R4 http.html#update); 413.
        ResourceRefused: with everything that is wrong, or not offered.
    """
    if len(raw) > LARGEST:
        raise BadBody("body", f"more than {LARGEST} bytes", "leave out what is not asked for", 413)
    if issues := validated(raw, "Subscription", id_):
        if id_ and issues[0].path == "Subscription.id":
            raise BadBody("id", "missing, or not the id of the address", "make them equal", 400)
        raise ResourceRefused(issues)
    try:
        asked = msgspec.json.decode(raw, type=_Subscription)
        end = datetime.fromisoformat(asked.end) if asked.end else None
    except (msgspec.MsgspecError, ValueError):  # such as a leap second, which FHIR allows
        raise ResourceRefused([Issue("Subscription", "value", "cannot be read")]) from None
    channel = asked.channel
    told = {one.url: one for one in (*channel.extension, *channel.payload_more.extension)}
    content = told[_PAYLOAD].value_code if _PAYLOAD in told else ""
    heartbeat = told[_HEARTBEAT].value_unsigned_int if _HEARTBEAT in told else 0
    most = told[_MOST].value_positive_int if _MOST in told else 1
    refused = [
        Issue(f"Subscription.{path}", code, words)
        for wrong, path, code, words in (
            (asked.criteria not in TOPICS, "criteria", "not-supported", f"is none of {', '.join(TOPICS)}"),
            (
                any(one.url == _FILTER for one in asked.criteria_more.extension),
                "criteria",
                "not-supported",
                "the topics have no filters: they are about your own institution",
            ),
            (
                asked.status not in ("requested", "active", "off"),
                "status",
                "value",
                "is neither requested nor off",
            ),
            (channel.type != "rest-hook", "channel.type", "not-supported", "only rest-hook is offered"),
            (channel.payload != MEDIA, "channel.payload", "not-supported", f"only {MEDIA} is offered"),
            (
                content not in ("id-only", "empty"),
                "channel.payload",
                "not-supported",
                "its backport-payload-content is neither id-only nor empty: no data go along",
            ),
            (
                bool(channel.header),
                "channel.header",
                "not-supported",
                "no secrets are kept: a notification is known by its signature (RFC 9421)",
            ),
            (
                0 < heartbeat < _SHORTEST,
                "channel.extension",
                "value",
                f"a heartbeat comes every {_SHORTEST} seconds or less often",
            ),
            (
                not 0 < most <= MOST_EVENTS,
                "channel.extension",
                "value",
                f"a notification has at most {MOST_EVENTS} events",
            ),
            (bool(end and end <= datetime.now(UTC)), "end", "value", "is over already"),
            (
                bool(_NUMBER.search(channel.endpoint)),
                "channel.endpoint",
                "security",
                "holds what looks like a person's number",
            ),
        )
        if wrong
    ]
    if refused:
        raise ResourceRefused(refused)
    return Wanted(
        topic=asked.criteria,
        endpoint=channel.endpoint,
        content="empty" if content == "empty" else "id-only",
        end=end,
        heartbeat=heartbeat,
        most=most,
        off=asked.status == "off",
    )


def shown(kept: Kept, state: State) -> dict[str, Any]:
    """The Subscription as its client sent it, with its id and version, and the status that it has by now."""
    members = msgspec.json.decode(kept.resource, type=dict[str, Raw])
    meta = msgspec.json.decode(members["meta"]) if "meta" in members else {}
    changed = {
        "id": kept.id,
        "meta": meta | {"versionId": str(kept.version), "lastUpdated": kept.saved.isoformat()},
        "status": state.status,
    }
    error = {"error": state.error} if state.error else {}
    return {name: value for name, value in members.items() if name != "error"} | changed | error


def status(kept: Kept, state: State, kind: str, base: str, events: Sequence[Event] = ()) -> dict[str, Any]:
    """The SubscriptionStatus, which is Parameters in R4; ``kind`` is the type of notification it is for."""
    parameters: list[dict[str, Any]] = [
        {"name": "subscription", "valueReference": {"reference": f"{base}/fhir/Subscription/{kept.id}"}},
        {"name": "topic", "valueCanonical": kept.topic},
        {"name": "status", "valueCode": state.status},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(state.events)},
    ]
    parameters += [
        {"name": "notification-event", "part": _event(event, kept.content == "id-only")} for event in events
    ]
    if state.error:
        parameters.append({"name": "error", "valueCodeableConcept": {"text": state.error}})
    profile = f"{BACKPORT}/backport-subscription-status-r4"
    return {
        "resourceType": "Parameters",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [profile]},
        "parameter": parameters,
    }


def _event(event: Event, named: bool) -> list[dict[str, Any]]:
    part: list[dict[str, Any]] = [
        {"name": "event-number", "valueString": str(event.number)},
        {"name": "timestamp", "valueInstant": event.at.isoformat(timespec="milliseconds")},
    ]
    if named:
        identifier = {"system": event.system, "value": event.value}
        part.append({"name": "focus", "valueReference": {"reference": event.focus, "identifier": identifier}})
        part += [
            {"name": "additional-context", "valueReference": {"reference": one}} for one in event.context
        ]
    return part


def notification(kept: Kept, state: State, kind: str, base: str, events: Sequence[Event] = ()) -> bytes:
    """The notification Bundle: the status, and for ``id-only`` an entry for each address to look at."""
    told = status(kept, state, kind, base, events)
    entries = [
        {
            "fullUrl": f"urn:uuid:{told['id']}",
            "resource": told,
            "request": {"method": "GET", "url": f"{base}/fhir/Subscription/{kept.id}/$status"},
            "response": {"status": "200"},
        }
    ]
    if kept.content == "id-only":
        addresses = dict.fromkeys(one for event in events for one in (event.focus, *event.context))
        entries += [
            {"fullUrl": url, "request": {"method": "GET", "url": url}, "response": {"status": "200"}}
            for url in addresses
        ]
    bundle = {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [f"{BACKPORT}/backport-subscription-notification-r4"]},
        "type": "history",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "entry": entries,
    }
    return msgspec.json.encode(bundle)
