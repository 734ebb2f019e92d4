"""Another gateway as a node: one question in, marked results and the states of all nodes behind it out; or
FHIR resources as its nodes sent them, by a search for a person or by the address of one; or the studies of a
person, with a token by which their images are had from there.

The person's number travels in the body, over mutual TLS. The asking gateway sends what is left of its time
less a tenth for the way, and one hop less than it was given, so that gateways cannot ask in circles. Question
and answer are signed by their gateways (:mod:`security.http_signature`); the answer's signature covers the
question too, and is kept, so that the other gateway can be held to what it said. The answer names its
gateway's owner, and repeats the commitment to the question. Ids of its results get this node's id in front,
so that they cannot be those of a node here.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from adapters._asking import MOST, Heard, answer_of, bearer, in_reach, left_out, ping_of
from adapters.dicomweb_studies import listed_of
from adapters.errors import NodeFaulty
from adapters.fhir_copies import stated_in
from adapters.fhir_matching import Matching
from adapters.fhir_time import in_range
from adapters.http import Line
from adapters.node import Answer, Copy, Fault, Listed, Question, Report
from adapters.transport import Reply, Timeouts
from catalog import Kind
from recognition import Result
from security.errors import IdentityRefused, SignatureRefused, TrustError
from security.http_signature import KeyOf, SignedAnswer, sign, verify_answer
from security.identity import Identifier, identifier
from security.keys import PublicKey, Signer

PATH = "api/v1/results"
SEARCH = "api/v1/resources"
READ = "api/v1/resources/read"
STUDIES = "api/v1/studies"
_SLACK = timedelta(days=1)  # for clocks that differ
_MOST = 10 * MOST  # each one's mark is verified
MOST_RESOURCES = 1000
"""How many resources or studies one answer holds."""

_ID = r"^[A-Za-z0-9\-.]{1,64}\Z"
_NODE = r"[a-z0-9][a-z0-9-]{0,30}"
_WAY = rf"^{_NODE}(/{_NODE}){{0,4}}\Z"

Moment = Annotated[datetime, Meta(tz=True)]
Owner = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,15}\Z")]
TypeName = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]{1,63}\Z")]
LONGEST, MOST_CONDITIONS = 1024, 64
Text = Annotated[str, Meta(max_length=LONGEST)]

Pairs = Sequence[tuple[str, str]]

A = TypeVar("A", bound="PeerReply")


class PeerPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's number; the system's URI follows from its type. Its ``repr`` hides it."""

    type: Annotated[str, Meta(min_length=1, max_length=64)]
    value: Annotated[str, Meta(min_length=1, max_length=64)]

    def __repr__(self) -> str:
        return f"PeerPerson(type={self.type!r}, value='…')"


class PeerAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every question of a gateway says. ``budget_ms`` counts from its arrival; ``hops`` may be 0.

    ``asked`` are the gateways (owner ids) that the question is on its way to already, the asking one among
    them; it is left out where no hop is left.
    ``purpose`` is a code of HL7 v3 PurposeOfUse. ``salt`` is random: nobody can try person's numbers against
    the :func:`commitment` of the body, which is kept on both sides.
    """

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    at: Moment
    receiver: Annotated[str, Meta(min_length=1, max_length=64)]
    budget_ms: Annotated[int, Meta(ge=1, le=60_000)]
    hops: Annotated[int, Meta(ge=0, le=4)]
    asked: Annotated[tuple[Owner, ...], Meta(max_length=64)] | UnsetType = UNSET
    purpose: Annotated[str, Meta(pattern=r"^[A-Z]{3,16}\Z")] = "TREAT"
    salt: Annotated[str, Meta(max_length=64)] = ""


class PeerQuestion(PeerAsked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /api/v1/results``: prior results of a person."""

    person: PeerPerson
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=2)]
    since: Moment


class PeerSearch(PeerAsked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /api/v1/resources``: FHIR resources of a person and of a type, ``since`` a moment by
    the search parameter ``bound`` (empty for a type without a time), that meet all ``conditions``: search
    parameters as name and value, without the person."""

    person: PeerPerson
    since: Moment
    type: TypeName
    bound: Annotated[str, Meta(pattern=r"^[a-z]{0,16}\Z")]
    conditions: Annotated[tuple[tuple[Text, Text], ...], Meta(max_length=MOST_CONDITIONS)] = ()


class PeerRead(PeerAsked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /api/v1/resources/read``: one FHIR resource at a node, which may lie behind further
    gateways (``<peer>/<node>``), in a version or as it is now."""

    node: Annotated[str, Meta(pattern=_WAY)]
    type: TypeName
    resource: Annotated[str, Meta(pattern=_ID)]
    version: Annotated[str, Meta(pattern=rf"^\Z|{_ID}")] = ""


class PeerStudiesAsked(PeerAsked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /api/v1/studies``: the imaging studies of a person, narrowed by ``params`` (names
    and values of QIDO-RS, without the person), for a viewing that ends at ``ends``."""

    person: PeerPerson
    ends: Moment
    params: Annotated[tuple[tuple[Text, Text], ...], Meta(max_length=MOST_CONDITIONS)] = ()


class PeerReply(Struct, frozen=True, kw_only=True):
    """What every answer of a gateway says: ``gateway`` is the owner id of the answering one, ``question`` the
    :func:`commitment` of the body it answers, ``nodes`` have a report each. Fields that a newer gateway adds
    are passed over.
    """

    gateway: str
    question: str
    nodes: tuple[Report, ...]


class PeerAnswer(PeerReply, frozen=True, kw_only=True):
    """The answer to a question for results: as their gateway marked them, under its ``catalogue``."""

    catalogue: str
    results: tuple[Result, ...]


class PeerResource(Struct, frozen=True, kw_only=True):
    """A resource as it stands at a ``node``, the way to it from the answering gateway. One that was read has
    its ``version``, when that was ``saved``, and ``whose`` it is, as far as these are known there."""

    node: str
    resource: Raw
    version: str = ""
    saved: Moment | None = None
    whose: tuple[PeerPerson, ...] = ()


class PeerResources(PeerReply, frozen=True, kw_only=True):
    """The answer to a search or a read: resources as the nodes sent them."""

    resources: tuple[PeerResource, ...]


class PeerStudy(Struct, frozen=True, kw_only=True):
    """A study at an archive, the way to it from the answering gateway: the person's Patient ID there, and
    the DICOM JSON object as the archive sent it."""

    node: str
    number: str
    study: Raw


class PeerStudies(PeerReply, frozen=True, kw_only=True):
    """The answer to a question for studies. ``token`` opens ``<gateway>/dicomweb/nodes/<node>/studies…`` for
    this person, receiver and purpose, until it ends or the person does not consent any more; empty where
    nothing is told. Its ``repr`` hides it."""

    studies: tuple[PeerStudy, ...]
    token: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,128}\Z")] = ""

    def __repr__(self) -> str:
        return f"PeerStudies(gateway={self.gateway!r}, studies={len(self.studies)}, token='…')"


def commitment(body: bytes) -> str:
    """SHA-256 (hex) of a question's body as it was sent. Not for a log: it commits to a person's number."""
    return hashlib.sha256(body).hexdigest()


class PeerKeys(Struct, frozen=True):
    """The key that signs what is asked here, and how the keys of others are found."""

    signer: Signer
    key_of: KeyOf


class PeerGateway:
    """The gateway of one ``owner``; ``institution`` is empty, because it speaks for many.

    ``url`` must be the address that the other one knows itself by: the signature covers it. Without ``keys``
    it can be pinged, and is ``skipped`` by questions. ``line`` and ``images`` are the ways to it, where more
    is to be said of them than address, time and token. Images come by connections of their own, so that
    they hold up no question, and without the token of questions: they carry that of a viewing.
    """

    kind = "gateway"
    institution = ""

    def __init__(
        self,
        id: str,  # noqa: A002 - the protocol's word
        url: str,
        *,
        owner: str,
        keys: PeerKeys | None = None,
        timeout: float = 5.0,
        token: str = "",
        line: Line | None = None,
        images: Line | None = None,
    ) -> None:
        self.id = id
        self._owner = owner
        self._keys = keys
        self._timeout = timeout
        self._line = line or Line(url, timeout=Timeouts.within(timeout), headers=bearer(token))
        self.line = images or Line(url, timeout=Timeouts.within(timeout))

    async def prior(self, question: Question) -> Answer:
        """Ask the gateway; without a hop left it is ``skipped``. See :class:`adapters.node.Node`.

        Raises:
            TrustError: the question could not be signed here; it was not asked.
        """
        return await self._answer(question, partial(self._results, question))

    async def search(self, question: Question, type_: str, bound: str, conditions: Pairs = ()) -> Answer:
        """The person's resources of a type that meet ``conditions`` (name and value of search parameters; as
        many as a question holds, none that is too long for it), of all nodes of that gateway, each with the
        way to its node; as :meth:`adapters.fhir.FhirNode.search`.
        What it has not consented to be told, and what it does not understand, that gateway does not send.
        """

        told = tuple(pair for pair in conditions if max(map(len, pair)) <= LONGEST)[:MOST_CONDITIONS]

        async def ask(keys: PeerKeys) -> Heard:
            asked = PeerSearch(
                **_common(question, self._timeout),
                person=_told(question.person),
                since=question.since,
                type=type_,
                bound=bound,
                conditions=told,
            )
            answer, heard = await self._exchange(SEARCH, asked, PeerResources, keys)
            if len(answer.resources) > MOST_RESOURCES:
                raise NodeFaulty(f"answered with more than {MOST_RESOURCES} resources")
            matching = Matching(question, type_, bound, "")
            for node, ones in groupby(answer.resources, key=lambda one: one.node):
                matching.take(None, [one.resource for one in ones], node=node)
            found = matching.heard(bounded=bool(bound))
            return replace(heard, matches=found.matches, fault=found.fault, detail=found.detail)

        return await self._answer(question, ask)

    async def read(self, question: Question, node: str, type_: str, id_: str, version: str = "") -> Answer:
        """One resource at a ``node`` behind that gateway; as :meth:`adapters.fhir.FhirNode.read`."""

        async def ask(keys: PeerKeys) -> Heard:
            asked = PeerRead(
                **_common(question, self._timeout), node=node, type=type_, resource=id_, version=version
            )
            answer, heard = await self._exchange(READ, asked, PeerResources, keys)
            if len(answer.resources) > 1 or any(one.node != node for one in answer.resources):
                raise NodeFaulty("answered a read with another resource")
            return replace(heard, copy=_copy(answer.resources[0], type_, id_)) if answer.resources else heard

        return await self._answer(question, ask)

    async def studies(self, question: Question, params: Pairs = (), *, ends: datetime) -> Answer:
        """The person's imaging studies at all archives of that gateway, each with the way to its archive, and
        in ``admits`` the token of a viewing there that ends at ``ends`` (aware) or before.

        ``params``: names and values of QIDO-RS that narrow the search, without the person. Never raises for
        the other side's failures; see :class:`adapters.node.Node`.
        """
        told = tuple(pair for pair in params if max(map(len, pair)) <= LONGEST)[:MOST_CONDITIONS]

        async def ask(keys: PeerKeys) -> Heard:
            asked = PeerStudiesAsked(
                **_common(question, self._timeout),
                person=_told(question.person),
                ends=ends,
                params=told,
            )
            answer, heard = await self._exchange(STUDIES, asked, PeerStudies, keys)
            if len(answer.studies) > MOST_RESOURCES:
                raise NodeFaulty(f"answered with more than {MOST_RESOURCES} studies")
            listed, odd = list[Listed](), list[str]()
            for (way, number), ones in groupby(answer.studies, key=lambda one: (one.node, one.number)):
                found, unreadable = listed_of([one.study for one in ones], "studies", number, way)
                listed += found
                odd += unreadable
            details = left_out("studies", odd, ())
            return replace(
                heard,
                listed=tuple(listed),
                admits=answer.token,
                fault="node" if details else "",
                detail="; ".join(details),
            )

        return await self._answer(question, ask)

    async def ping(self) -> Report:
        """Ask for its health."""
        return await ping_of(self, self._line.get_json("health/live"))

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._line.aclose()
        await self.line.aclose()

    async def _answer(self, question: Question, ask: Callable[[PeerKeys], Awaitable[Heard]]) -> Answer:
        if question.hops > 0 and self._keys:
            return await answer_of(self, question, self._timeout, ask(self._keys))
        fault: Fault = "gateway" if question.hops > 0 else ""
        detail = "not asked: " + ("no key to sign with" if fault else "the question has no hop left")
        return Answer(
            report=Report(
                node=self.id, kind=self.kind, state="skipped", took_ms=0, fault=fault, detail=detail
            )
        )

    async def _results(self, question: Question, keys: PeerKeys) -> Heard:
        asked = PeerQuestion(
            **_common(question, self._timeout),
            person=_told(question.person),
            kinds=question.kinds,
            since=question.since,
        )
        answer, heard = await self._exchange(PATH, asked, PeerAnswer, keys)
        if len(answer.results) > _MOST:
            raise NodeFaulty(f"answered with more than {_MOST} results")
        times = [time for result in answer.results for time in (result.performed, result.reported) if time]
        if any(time.tzinfo is None for time in times):
            raise NodeFaulty("answered with a time that has no zone")
        if not all(in_range(time) and time <= question.at + _SLACK for time in times):
            raise NodeFaulty("answered with a result of a time that cannot be")
        wanted = replace(question, since=question.since - _SLACK)
        if not all(result.kind in wanted.kinds and in_reach(result, wanted) for result in answer.results):
            raise NodeFaulty("answered with a result that was not asked for")
        reached = {report.node for report in answer.nodes}
        if any(result.node not in reached for result in answer.results):
            raise NodeFaulty("answered with a result of a node that it does not report")
        return replace(
            heard,
            results=tuple(replace(result, id=f"{self.id}/{result.id}") for result in answer.results),
        )

    async def _exchange(self, path: str, asked: PeerAsked, kind: type[A], keys: PeerKeys) -> tuple[A, Heard]:
        """Put a question, and believe the answer where the gateway signed it; what is common to all answers
        stands in what was heard."""
        body = msgspec.json.encode(asked)
        headers = sign("POST", f"{self._line.base_url}/{path}", body, keys.signer, datetime.now(UTC))
        reply = await self._line.post_json(path, body, headers=headers)
        signed = self._signed(body, reply, keys)
        try:
            answer = msgspec.json.decode(reply.body, type=kind)
        except (msgspec.MsgspecError, RecursionError):
            raise NodeFaulty("answered with something that is no gateway's answer") from None
        if answer.question != commitment(body):
            raise NodeFaulty("answered another question than it was asked")
        if answer.gateway != self._owner:
            raise NodeFaulty("answered in the name of another gateway")
        if len(answer.nodes) > _MOST:
            raise NodeFaulty(f"answered with more than {_MOST} nodes")
        reached = {way_of(report) for report in answer.nodes}
        if not all(map(re.compile(_WAY).match, reached)):
            raise NodeFaulty("answered for a node of a name that cannot be")
        told: Sequence[PeerResource | PeerStudy] = ()
        if isinstance(answer, PeerResources | PeerStudies):
            told = answer.resources if isinstance(answer, PeerResources) else answer.studies
        if any(one.node not in reached for one in told):
            raise NodeFaulty("answered with a resource of a node that it does not report")
        return answer, Heard(
            behind=tuple(
                replace(report, via=f"{self.id}/{report.via}" if report.via else self.id)
                for report in answer.nodes
            ),
            digest=hashlib.sha256(reply.body).digest(),
            gateway=self._owner,
            signed=signed,
        )

    def _signed(self, body: bytes, reply: Reply, keys: PeerKeys) -> SignedAnswer:
        def key_of(kid: str, at: datetime) -> PublicKey:
            key = keys.key_of(kid, at)
            if key.owner != self._owner:
                raise SignatureRefused(f"key {kid} is another gateway's")
            return key

        try:
            return verify_answer(body, reply.headers, reply.body, key_of, datetime.now(UTC))
        except TrustError as wrong:
            raise NodeFaulty(f"answered without a signature that counts: {wrong}") from None


def way_of(report: Report) -> str:
    """The way to a node from the gateway whose answer this report is in: ``<node>``, ``<peer>/<node>``."""
    return f"{report.via}/{report.node}" if report.via else report.node


def _common(question: Question, timeout: float) -> dict[str, Any]:
    """What every question says, with a tenth of the time left for the way, and a hop used up."""
    return {
        "id": question.id,
        "at": question.at,
        "receiver": question.receiver,
        "budget_ms": max(1, int(min(question.budget, timeout) * 900)),
        "hops": question.hops - 1,
        "asked": question.asked if question.hops > 1 else UNSET,
        "purpose": question.purpose,
        "salt": secrets.token_hex(16),
    }


def _told(person: Identifier) -> PeerPerson:
    return PeerPerson(person.type, person.text)


def _copy(one: PeerResource, type_: str, id_: str) -> Copy:
    """A resource that was read. Raises NodeFaulty for another one than was asked for."""
    try:
        whose = tuple(identifier(person.type, person.value) for person in one.whose)
    except IdentityRefused:
        raise NodeFaulty("answered a read with a person's number that is none") from None
    if not {*stated_in(one.resource, type_, id_).named} <= {*whose}:
        raise NodeFaulty("answered with another person's resource than it says")
    saved = one.saved.astimezone(UTC) if one.saved and in_range(one.saved) else None
    return Copy(raw=bytes(one.resource), version=one.version, saved=saved, whose=whose)
