"""What the DICOMweb face works with: viewings, what is known of them in this process, and where studies are.

A *viewing* 调阅 is the permission to see the images of one person for one purpose on behalf of one
institution. It is opened by a hospital's system with the person in the body, and everything under
``/dicomweb`` goes by its token: no number of a person stands in an address that this gateway makes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from gateway.model import CatalogueRef, VerdictOut
from gateway.settings import PurposeOfUse
from security.identity import Identifier

DICOM_JSON = "application/dicom+json"

Level = Literal["studies", "series", "instances"]


class Prior(Struct, frozen=True, kw_only=True):
    """What was decided of one study when its viewing was opened. ``rank`` begins with 1, the most relevant;
    ``zh`` and ``en`` say why it stands there. ``record`` is the way to its record in FHIR
    (``<node>/DiagnosticReport/<id>``), empty where there is none.
    """

    study_uid: str
    verdict: VerdictOut
    rank: int
    zh: str
    en: str
    record: str = ""


class Viewing(Struct, frozen=True, kw_only=True):
    """One permission, as it is kept (sealed; never in a log).

    ``id`` begins with the time at which it ``ends`` (:func:`gateway.ids.new_id`). ``patient_id`` is by what
    the person is called here, towards viewers: made from the pseudonym, and the same for each viewing of an
    institution. ``gateway``: it was opened by another gateway (its owner id) for ``institution``.
    ``question``: the ledger entry that it goes back to. ``priors`` are in their order; ``check`` is the
    decision they come from.
    """

    id: str
    client: str
    institution: str
    purpose: PurposeOfUse
    person: Identifier
    pseudonyms: tuple[str, ...]
    patient_id: str
    opened: datetime
    ends: datetime
    question: str
    check: str = ""
    catalogue: CatalogueRef | None = None
    priors: tuple[Prior, ...] = ()
    gateway: str = ""


class Source(Struct, frozen=True):
    """Where a study is: the way to an archive (``<node>``, or ``<peer>/<node>`` behind another gateway), the
    Patient ID it has there, and how many instances that archive says it holds (-1: it does not say)."""

    node: str
    number: str
    instances: int = -1


class Viewed(Struct, kw_only=True):
    """A viewing that is open in this process, and what was learnt of it here; nothing of it is ever written.

    ``studies``: where each study of the person is, the best source first. ``undivided``: by own node and
    study, whether that archive was found to have images of nobody else under its UID. ``opened``: studies of
    which this process has recorded the 调阅. ``passes``: by peer node, the token of the viewing that was
    opened there and the loop's time at which it ends.
    """

    viewing: Viewing
    studies: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    undivided: dict[tuple[str, str], bool] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    passes: dict[str, tuple[str, float]] = field(default_factory=dict)
