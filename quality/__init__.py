"""Evidence of quality: the data-quality dimensions of a single result, and evaluations of laboratories."""

from quality.eqa import UNVERIFIED, Criteria, qualifications_from, satisfactory, score
from quality.errors import EventsRefused, NotANumber, QualityError
from quality.events import Event, read_events
from quality.iqc import WestgardRule, broken, in_control, z_scores
from quality.limits import Limit, Shape
from quality.record import assess

__all__ = [
    "UNVERIFIED",
    "Criteria",
    "Event",
    "EventsRefused",
    "Limit",
    "NotANumber",
    "QualityError",
    "Shape",
    "WestgardRule",
    "assess",
    "broken",
    "in_control",
    "qualifications_from",
    "read_events",
    "satisfactory",
    "score",
    "z_scores",
]
