"""Who is to be viewed: by the number of a document, or by the number that the hospital itself gave.

What works with images knows a patient by the hospital's own number (Patient ID). The hospital's own system
says whose that is; no other hospital's number is taken, since two people may have the same one.
"""

from __future__ import annotations

import re
from datetime import datetime

from adapters import Answer, FhirNode, Node, Question
from adapters.dicomweb import MRN
from gateway.access.clients import Client
from gateway.checks import read_person
from gateway.errors import BadRequest, NodeUnheard
from gateway.finding import unasked
from gateway.flow import waited_s
from gateway.ids import new_id
from gateway.model import PersonIn
from gateway.reading import NOBODY, number_of
from gateway.wiring import Gateway
from security.identity import Identifier

_NUMBER = re.compile(r"[^\s|,$\\\x00-\x1f\x7f]{1,64}")
"""Some characters mean something else in a search (FHIR R4 search.html#escaping)."""


async def person_of(gateway: Gateway, told: PersonIn, client: Client, now: datetime) -> Identifier:
    """The person that a client of a hospital names.

    ``told.type`` may be ``urn:lianren:mrn:<its institution>``: the FHIR nodes of the institution are then
    asked who has this number. Of several numbers of documents the strongest counts, or one under which the
    person said no.

    Raises:
        IdentityRefused: the number of a document cannot be.
        BadRequest: the hospital's number cannot be, or is nobody's there.
        NodeUnheard: the hospital's system does not say now whose it is.
        TooManyRequests, StoreUnavailable: consent cannot be known.
    """
    system = f"{MRN}{client.institution}"
    if told.type != system:
        return read_person(told)
    if not _NUMBER.fullmatch(told.value):
        raise BadRequest("is no number of a patient", field="patient.value")
    own = [
        one.node.id
        for one in gateway.nodes.placed()
        if isinstance(one.node, FhirNode) and one.node.institution == client.institution
    ]
    question = Question(
        id=new_id(now),
        person=NOBODY,
        kinds=("imaging", "lab"),
        since=now,
        at=now,
        receiver=client.institution,
        budget=max(gateway.settings.deadline_ms / 1000 - waited_s(), 0.001),
        hops=0,
        purpose=client.purpose,
    )

    async def call(node: Node, asked: Question) -> Answer:
        return await node.holder(asked, system, told.value) if isinstance(node, FhirNode) else unasked(node)

    answers = await gateway.broker.ask(question, call, own)
    found = [answer.copy.whose for answer in answers if answer.copy]
    if len({whose[0] for whose in found}) == 1:
        whose = (*dict.fromkeys(person for each in found for person in each),)
        return await number_of(gateway, whose, client, now)
    for report in (answer.report for answer in answers):
        if not found and not report.complete:
            raise NodeUnheard.of(report)
    raise BadRequest("is not known at your hospital to be one person's", field="patient.value")
