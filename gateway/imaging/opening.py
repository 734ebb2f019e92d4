"""How a viewing is opened: a hospital's system names the person, and gets what a viewer needs.

To open one is to ask: a check as at reception, of images alone, or one that was answered already. So consent,
emergency, evidence, verdicts and marks are those of checks, and what the person has is known before the
first image is asked for. The priors come in the order of their relevance for what is planned or open
(:mod:`recognition.relevance`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from adapters import Report, elapsed_ms
from adapters.fhir_results import reading
from gateway.access.clients import Client
from gateway.answers import one_each
from gateway.checks import Checks
from gateway.errors import BadRequest, ConsentDenied, NotPermitted
from gateway.ids import new_id
from gateway.imaging.naming import person_of
from gateway.imaging.values import Prior, Viewed, Viewing
from gateway.imaging.viewing import Viewings, patient_id
from gateway.model import (
    BreakGlass,
    CatalogueRef,
    CheckAnswer,
    HistoryRequest,
    PersonIn,
    PlannedIn,
    ShortText,
    VerdictOut,
)
from gateway.naming import planned_by
from gateway.persons.consent import BREAK_GLASS
from gateway.rules import Rules
from gateway.settings import PurposeOfUse
from gateway.wiring import Gateway
from mapping import LocalName
from quality.record import DICOM_UID
from recognition import Context
from recognition.relevance import Candidate, ranked
from security.identity import Identifier
from security.pseudonym import Pseudonyms

FACE = "dicomweb"
LONGEST = 480
"""Minutes that a viewing can be set to be open for."""
OLDEST = timedelta(hours=24)
"""How old a check may be that a viewing goes by: what it says was so then."""
_RECORD = re.compile(r"[^/]+(/[^/]+)*/DiagnosticReport/[^/]+")


class ViewingRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """调阅: open a viewing of a patient's images for ``minutes``.

    ``patient`` may be named by the hospital's own number: ``type`` is then ``urn:lianren:mrn:<institution>``.
    ``planned``, or ``study_uid`` (the study that is open), says what the priors are to be relevant for.
    ``check`` is the id of a check of this patient that was answered within 24 hours, and of whose marks none
    was withdrawn since: the viewing then goes by its verdicts, and nothing is asked anew.
    """

    patient: PersonIn
    planned: Annotated[list[PlannedIn], Meta(max_length=50)] = []
    study_uid: ShortText = ""
    check: ShortText = ""
    minutes: Annotated[int, Meta(ge=1, le=LONGEST)] | UnsetType = UNSET
    context: Context = Context()
    deadline_ms: Annotated[int, Meta(ge=50, le=10_000)] | None = None
    break_glass: BreakGlass | UnsetType = UNSET


class ViewingState(Struct, frozen=True, kw_only=True):
    """A viewing that is open until ``ends``.

    ``patient_id`` is the Patient ID (0010,0020) of every study in it; ``dicomweb`` the address that a viewer
    is given. ``priors`` are in the order of their relevance, judged by ``check`` under ``catalogue``.
    """

    id: str
    opened: datetime
    ends: datetime
    patient_id: str
    dicomweb: str
    check: str
    catalogue: CatalogueRef | None
    priors: tuple[Prior, ...]


class ViewingOut(ViewingState, frozen=True, kw_only=True):
    """A viewing as it is opened. ``token`` opens ``dicomweb`` and is told once; ``link`` opens the configured
    viewer with it, at the study that is open or else the most relevant one; empty where there is none.

    ``relevant_to`` are the concepts that the priors were ranked for. ``complete`` is false where a node could
    not be heard: see ``nodes``.
    """

    token: str
    link: str
    relevant_to: tuple[str, ...]
    nodes: tuple[Report, ...]
    complete: bool


class Opening:
    """Opens viewings."""

    def __init__(self, gateway: Gateway, checks: Checks, viewings: Viewings) -> None:
        self._gateway = gateway
        self._checks = checks
        self._viewings = viewings

    async def open(self, request: ViewingRequest, client: Client) -> ViewingOut:
        """Ask what the person has, or take what a check said, and open a viewing.

        Raises:
            ConsentDenied: the person does not want it shown to this institution for this purpose.
            NotFound: there is no such check of this institution.
            BadRequest, IdentityRefused: a field is wrong.
            NodeUnheard: the hospital's system does not say whose its own number is.
            StoreUnavailable: the viewing could not be kept.
            NotPermitted, TooManyRequests, EvidenceUnavailable: as :meth:`gateway.checks.Checks.ask`.
        """
        client.require("his")
        gateway, started, now = self._gateway, time.monotonic(), datetime.now(UTC)
        rules, settings = gateway.rules, gateway.settings
        minutes = min(30, settings.viewing_minutes) if request.minutes is UNSET else request.minutes
        if minutes > settings.viewing_minutes:
            raise BadRequest(
                f"is more than the {settings.viewing_minutes} that a viewing is open here", field="minutes"
            )
        if request.study_uid and not DICOM_UID.fullmatch(request.study_uid):
            raise BadRequest("is no UID of DICOM", field="study_uid")
        person = await person_of(gateway, request.patient, client, now)
        planned = [
            concept
            for number, one in enumerate(request.planned)
            for concept in concepts_of(one, client.institution, rules, f"planned[{number}]")
        ]
        pseudonyms = await gateway.pseudonyms(person)
        answer = await self._checked(request, client, person, pseudonyms, now)
        purpose = _purpose(answer, client)
        # a check that is gone by may not have known what was said since
        consent = await gateway.consents.rule(pseudonyms, purpose, client.institution, now)
        if not consent.permitted:
            raise ConsentDenied(consent.en)
        studies = studies_of(answer)
        concepts = {uid: _concept(verdict, rules) for uid, verdict in studies.items()}
        targets = tuple(dict.fromkeys([*planned, *filter(None, [concepts.get(request.study_uid)])]))
        ends = now + timedelta(minutes=minutes)
        viewing = Viewing(
            id=new_id(ends),
            client=client.id,
            institution=client.institution,
            purpose=purpose,
            person=person,
            pseudonyms=pseudonyms.all,
            patient_id=patient_id(pseudonyms.current, client.institution),
            opened=now,
            ends=ends,
            question=answer.ledger.entry,
            check=answer.id,
            catalogue=answer.catalogue,
            priors=priors_of(studies, concepts, targets, now),
        )
        token = await self._viewings.open(Viewed(viewing=viewing))
        gateway.log(
            "viewing_opened",
            viewing=viewing.id,
            client=client.id,
            check=answer.id,
            priors=len(viewing.priors),
            took_ms=elapsed_ms(started),
        )
        shown = request.study_uid or next((one.study_uid for one in viewing.priors), "")
        return ViewingOut(
            **_state(viewing, settings.base_url),
            token=token,
            link=link_to(settings.viewer_url, shown, token),
            relevant_to=targets,
            nodes=answer.nodes,
            complete=answer.complete,
        )

    async def state(self, id_: str, client: Client) -> ViewingState:
        """A viewing of the client's institution that is open. Raises NotFound."""
        client.require("his")
        viewing = await self._viewings.find(id_, client)
        return ViewingState(**_state(viewing, self._gateway.settings.base_url))

    async def end(self, id_: str, client: Client) -> ViewingState:
        """End a viewing of the client's institution; as it was, with now for its end. Raises NotFound."""
        client.require("his")
        viewing = replace(await self._viewings.revoke(id_, client), ends=datetime.now(UTC))
        return ViewingState(**_state(viewing, self._gateway.settings.base_url))

    async def _checked(
        self,
        request: ViewingRequest,
        client: Client,
        person: Identifier,
        pseudonyms: Pseudonyms,
        now: datetime,
    ) -> CheckAnswer:
        """What the viewing goes by: a check of now, or the one that is named."""
        if not request.check:
            history = HistoryRequest(
                request_id=new_id(now),
                patient=PersonIn(person.type, person.text),
                look_back_days=self._gateway.settings.lookback_days,
                context=request.context,
                deadline_ms=request.deadline_ms,
                break_glass=request.break_glass,
            )
            return (await self._checks.history(history, client, FACE, kinds=("imaging",))).answer
        if request.break_glass is not UNSET:
            raise BadRequest("is declared in the check, which says so already", field="break_glass")
        answer, about = await self._checks.about(request.check, client)
        if answer.receiver.code != client.institution or about not in pseudonyms.all:
            raise BadRequest("is not about this patient; leave it out to ask anew", field="check")
        if answer.answered_at < now - OLDEST:
            raise BadRequest("was answered more than 24 hours ago; leave it out to ask anew", field="check")
        if answer.withdrawn:
            raise BadRequest("goes by a mark that was withdrawn; leave it out to ask anew", field="check")
        return answer


def _purpose(answer: CheckAnswer, client: Client) -> PurposeOfUse:
    """What a viewing that goes by this check is for. Raises NotPermitted."""
    if answer.consent.basis == "break_glass":
        if not {"ETREAT", BREAK_GLASS} & set(client.purposes):
            raise NotPermitted(f"client {client.id} may not go by a check in an emergency")
        return BREAK_GLASS
    if client.purpose == BREAK_GLASS:
        raise NotPermitted(f"client {client.id} has access for emergencies alone, which a check declares")
    return client.purpose


def studies_of(answer: CheckAnswer) -> dict[str, VerdictOut]:
    """The best verdict on each study of a check, by its UID, which will stand in a link."""
    found: dict[str, VerdictOut] = {}
    for verdict in one_each(answer.verdicts):
        if verdict.result.kind == "imaging" and DICOM_UID.fullmatch(verdict.result.study_uid):
            found.setdefault(verdict.result.study_uid, verdict)
    return found


def priors_of(
    studies: dict[str, VerdictOut], concepts: dict[str, str], targets: Sequence[str], now: datetime
) -> tuple[Prior, ...]:
    """The studies in the order of their relevance for these concepts."""
    candidates = [
        Candidate(
            uid=uid,
            concept=concepts[uid],
            performed=verdict.result.performed or verdict.result.reported,
            verdict=verdict.verdict,
        )
        for uid, verdict in studies.items()
    ]
    return tuple(
        Prior(
            study_uid=one.uid,
            verdict=studies[one.uid],
            rank=one.rank,
            zh=one.zh,
            en=one.en,
            record=found if _RECORD.fullmatch(found := studies[one.uid].result.id) else "",
        )
        for one in ranked(targets, candidates, now)
    )


def concepts_of(planned: PlannedIn, site: str, rules: Rules, field: str) -> list[str]:
    """The imaging concepts of what is planned; none where its name cannot be read.

    Raises:
        BadRequest: it has both a name and an item code or neither, or the code is none.
    """
    if bool(planned.name) == bool(planned.item):
        raise BadRequest("needs either a name or an item code", field=field)
    catalogue = rules.catalogue
    if code := planned.item or rules.normaliser.panel(planned.name):
        items = planned_by(code, catalogue, f"{field}.item").items
        return [catalogue.items[one].concept for one in items if catalogue.items[one].kind == "imaging"]
    name = LocalName(
        name=planned.name,
        kind=planned.kind or "imaging",
        modality=planned.modality,
        specimen=planned.specimen,
        site=site,
        code=planned.code,
    )
    concept = reading(rules.normaliser.read(name)).concept
    return [concept] if concept and name.kind == "imaging" else []


def link_to(viewer: str, study_uid: str, token: str) -> str:
    """The address that opens a study in the configured viewer; empty without a viewer or a study."""
    if not viewer or not study_uid:
        return ""
    return viewer.replace("{study_uid}", study_uid).replace("{token}", token)


def _concept(verdict: VerdictOut, rules: Rules) -> str:
    """What a study is, by its item or else by its hospital's name for it; empty where that cannot be read."""
    item = rules.catalogue.items.get(verdict.item.code) if verdict.item else None
    if item:
        return item.concept
    local = LocalName(name=verdict.result.local_name, kind="imaging", site=verdict.result.institution.code)
    return reading(rules.normaliser.read(local)).concept or ""


def _state(viewing: Viewing, base_url: str) -> dict[str, Any]:
    return {
        "id": viewing.id,
        "opened": viewing.opened,
        "ends": viewing.ends,
        "patient_id": viewing.patient_id,
        "dicomweb": f"{base_url}/dicomweb",
        "check": viewing.check,
        "catalogue": viewing.catalogue,
        "priors": viewing.priors,
    }
