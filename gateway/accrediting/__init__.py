"""Accreditation: a new node put through the whole exchange in its owner's house, with a signed report.

``running`` makes the checks of ``fhir`` or ``archive`` in their order, by a ``kit`` that asks with the
adapter of a gateway; ``shown`` and ``behaviour`` are what both have in common; ``words`` says everything in
Chinese and English; ``signing`` signs and verifies, ``page`` prints.
"""

from gateway.accrediting.archive import Local
from gateway.accrediting.page import page
from gateway.accrediting.running import accredit
from gateway.accrediting.signing import sign, verify, written
from gateway.accrediting.values import Finding, Patients, Report, Signed, read_patients

__all__ = [
    "Finding",
    "Local",
    "Patients",
    "Report",
    "Signed",
    "accredit",
    "page",
    "read_patients",
    "sign",
    "verify",
    "written",
]
