"""Addresses of images: WADO-RS (PS3.18 section 10.4) at all archives or below one, and WADO-URI (section 9).

What is read of an address is checked before any of it goes into another one: UIDs, frame numbers, and the
few query parameters that archives get.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

from msgspec import Struct

from gateway.errors import BadParameter, NotFound
from gateway.imaging.accept import Resource
from quality.record import DICOM_UID

FACE = "/dicomweb"
MOST_FRAMES = 1024

_PLACE = re.compile(
    rf"{FACE}(?:/nodes/(?P<way>[^/]+(?:/[^/]+)*?))?/studies/(?P<study>[^/]+)"
    r"(?:/series/(?P<series>[^/]+)(?:/instances/(?P<instance>[^/]+))?)?(?P<rest>/.*)?",
    re.DOTALL,
)
_URI = re.compile(rf"{FACE}(?:/nodes/(?P<way>[^/]+(?:/[^/]+)*?))?/wado")
_LISTS = frozenset(("/series", "/instances"))
_WHOLE: Mapping[str, Resource] = {
    "/metadata": "metadata",
    "/rendered": "rendered",
    "/thumbnail": "thumbnail",
}
_FRAMES = re.compile(r"/frames/(?P<list>[^/]*)(?P<whole>/rendered|/thumbnail)?")
_STEP = re.compile(r"(?!\.{1,2}/|\.{1,2}$)[A-Za-z0-9._~@=,+-]{1,128}")
_VALUE = re.compile(r"[A-Za-z0-9_.,+ -]{0,64}")
_RENDERED = ("annotation", "iccprofile", "quality", "viewport", "window")
_BULK = re.compile(r"[A-Za-z0-9._~@=,+&%-]{0,512}")


class Asked(Struct, frozen=True, kw_only=True):
    """What is asked for: of which study, at which archive (``way``; empty: the best one), its address below
    an archive's root, what is passed on of the query, the frames, and what the caller takes."""

    resource: Resource
    study: str
    below: str
    accept: str
    way: str = ""
    query: str = ""
    frames: tuple[int, ...] = ()
    instance: str = ""

    @property
    def target(self) -> str:
        """The address at an archive, below its root."""
        return f"{self.below}?{self.query}" if self.query else self.below

    @property
    def one(self) -> bool:
        """Whether it is a single thing, which may be a single part."""
        return bool(self.instance) and len(self.frames) < 2


def asked_of(path: str, query: bytes, accept: str) -> Asked | None:
    """What a GET asks for; None where it is nothing that is retrieved, such as a list of series.

    Args:
        path: decoded.
        accept: the header; empty where there is none.

    Raises:
        BadParameter: a UID, a frame number or a parameter is wrong.
        NotFound: nothing could stand at this address.
    """
    if uri := _URI.fullmatch(path):
        return _uri(uri["way"] or "", _pairs(query), accept)
    place = _PLACE.fullmatch(path)
    rest = (place["rest"] or "") if place else ""
    if place is None or rest in _LISTS:
        return None
    for level in ("study", "series", "instance"):
        if place[level] is not None and not DICOM_UID.fullmatch(place[level]):
            raise BadParameter("is no UID (PS3.5 section 9.1)", field=level)
    study, series, instance = place["study"], place["series"], place["instance"]
    below = "/".join(
        f"{name}/{uid}"
        for name, uid in zip(("studies", "series", "instances"), place.group(2, 3, 4), strict=True)
        if uid
    )
    told = _pairs(query)
    frames: tuple[int, ...] = ()
    if not rest:
        resource: Resource = "instance" if instance else "series" if series else "study"
        passed = ""
    elif rest in _WHOLE:
        resource = _WHOLE[rest]
        passed = _rendered(told) if resource != "metadata" else ""
    elif instance and (found := _FRAMES.fullmatch(rest)):
        frames = _numbers(found["list"])
        resource = _WHOLE[found["whole"]] if found["whole"] else "frames"
        passed = _rendered(told) if found["whole"] else ""
    else:
        resource, passed = "bulk", _bulk(rest, query)
    return Asked(
        resource=resource,
        way=place["way"] or "",
        study=study,
        below=below + rest,
        query=passed,
        frames=frames,
        instance=instance or "",
        accept=told.get("accept") or accept,
    )


def _pairs(query: bytes) -> dict[str, str]:
    try:
        text = query.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=64, errors="strict"))
    except ValueError:
        raise BadParameter("cannot be read", field="query") from None


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) > MOST_FRAMES:
        raise BadParameter(f"names more than {MOST_FRAMES} frames", field="frames")
    if not all(
        part.isascii() and part.isdigit() and 0 < int(part[:10]) < 2**31 and len(part) < 11 for part in parts
    ):
        raise BadParameter("is no list of frame numbers, the first of which is 1", field="frames")
    return tuple(map(int, parts))


def _rendered(told: Mapping[str, str]) -> str:
    kept = {name: told[name] for name in _RENDERED if told.get(name)}
    for name, value in kept.items():
        if not _VALUE.fullmatch(value):
            raise BadParameter("has characters that it cannot have (PS3.18 section 8.3.5)", field=name)
    return urlencode(kept, safe=",")


def _bulk(rest: str, query: bytes) -> str:
    """The query of a bulk data address, which is an archive's own; it goes there as it came."""
    text = query.decode("latin-1")
    if not all(_STEP.fullmatch(step) for step in rest[1:].split("/")) or not _BULK.fullmatch(text):
        raise NotFound("nothing of a study stands at such an address")
    return "" if text.startswith("accept=") else text


def _uri(way: str, told: Mapping[str, str], accept: str) -> Asked:
    """WADO-URI, as the WADO-RS that it means (section 9.4 and 9.5)."""
    if told.get("requestType") != "WADO":
        raise BadParameter("must be WADO", field="requestType")
    uids = {name: told.get(name, "") for name in ("studyUID", "seriesUID", "objectUID")}
    for name, uid in uids.items():
        if not DICOM_UID.fullmatch(uid):
            raise BadParameter("is missing or no UID (PS3.5 section 9.1)", field=name)
    for name in ("anonymize", "presentationUID", "presentationSeriesUID", "region"):
        if told.get(name):
            raise BadParameter("is not offered here", field=name)
    study, series, instance = uids.values()
    below = f"studies/{study}/series/{series}/instances/{instance}"
    wanted = told.get("contentType") or accept
    frame = _numbers(told["frameNumber"]) if told.get("frameNumber") else ()
    if "application/dicom" in wanted:
        if frame:
            raise BadParameter("does not go with contentType application/dicom", field="frameNumber")
        syntax = told.get("transferSyntax", "")
        if syntax and syntax != "*" and not DICOM_UID.fullmatch(syntax):
            raise BadParameter("is no UID (PS3.5 section 9.1)", field="transferSyntax")
        media = "application/dicom" + (f"; transfer-syntax={syntax}" if syntax else "")
        return Asked(resource="instance", way=way, study=study, below=below, instance=instance, accept=media)
    size = [told[name] for name in ("columns", "rows") if told.get(name)]
    window = [told[name] for name in ("windowCenter", "windowWidth") if told.get(name)]
    if len(window) == 1:
        raise BadParameter("windowCenter and windowWidth go together", field="windowCenter")
    passed = {
        "annotation": told.get("annotation", ""),
        "quality": told.get("imageQuality", ""),
        "viewport": ",".join((size * 2)[:2]),
        "window": ",".join((*window, "linear")) if window else "",
    }
    below += f"/frames/{quote(told['frameNumber'])}/rendered" if frame else "/rendered"
    return Asked(
        resource="rendered",
        way=way,
        study=study,
        below=below,
        query=_rendered(passed),
        frames=frame,
        instance=instance,
        accept=wanted,
    )
