"""A small archive that keeps what it is sent (STOW-RS) and says whose its studies are (QIDO-RS)."""

from __future__ import annotations

import asyncio
import json
from email.parser import BytesParser
from email.policy import HTTP
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from pydicom import dcmread
from pydicom.dataset import Dataset
from starlette.types import Receive, Scope, Send


class Archive:
    """An ASGI application.

    ``kept`` are the instances by their UIDs. ``refuses``: instances that it fails, by reason. ``says``: an
    answer in place of its own (status and body). ``stumbles``: over any that it refuses it refuses the
    whole request. ``dies_at``: the request, by its number among those that
    store, in whose answer it breaks off. ``takes_s``: how long it takes to store.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Dataset] = {}
        self.refuses: dict[str, int] = {}
        self.says: tuple[int, bytes] | None = None
        self.stumbles = False
        self.dies_at = 0
        self.takes_s = 0.0
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        if scope["method"] == "POST":
            self.requests += 1
            await asyncio.sleep(self.takes_s)
            headers = dict(scope["headers"])
            status, said = self.says or (200, self._store(headers[b"content-type"], body))
            if self.stumbles and b"00081197" in said:
                status, said = 400, b'{"00081198":{"vr":"SQ"},"00081199":{"vr":"SQ"}}'
        else:
            status, said = 200, self._studies(parse_qs(scope["query_string"].decode()))
        start = {"status": status, "headers": [(b"content-type", b"application/dicom+json")]}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": said[:10], "more_body": True})
        if scope["method"] == "POST" and self.requests == self.dies_at:
            return
        await send({"type": "http.response.body", "body": said[10:]})

    def _store(self, content_type: bytes, body: bytes) -> bytes:
        whole = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body)
        told: dict[str, list[dict[str, Any]]] = {"00081198": [], "00081199": []}
        for part in whole.walk():
            if not isinstance(content := part.get_payload(decode=True), bytes):
                continue
            dataset = dcmread(BytesIO(content))
            uid = str(dataset.SOPInstanceUID)
            item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
            if reason := self.refuses.get(uid):
                told["00081198"].append(item | {"00081197": {"vr": "US", "Value": [reason]}})
            else:
                self.kept[uid] = dataset
                told["00081199"].append(item)
        return json.dumps({tag: {"vr": "SQ", "Value": items} for tag, items in told.items()}).encode()

    def _studies(self, query: dict[str, list[str]]) -> bytes:
        def wanted(dataset: Dataset) -> bool:
            asked = (("StudyInstanceUID", dataset.StudyInstanceUID), ("PatientID", dataset.PatientID))
            return all(str(value) in query.get(name, [str(value)]) for name, value in asked)

        found = {(str(one.StudyInstanceUID), str(one.PatientID)) for one in self.kept.values() if wanted(one)}
        return json.dumps(
            [
                {
                    "0020000D": {"vr": "UI", "Value": [uid]},
                    "00100020": {"vr": "LO", "Value": [number]},
                }
                for uid, number in sorted(found)
            ]
        ).encode()


def multipart(*files: bytes, boundary: str = "between") -> tuple[bytes, dict[str, str]]:
    """A body that stores these files, and its headers."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(head + file + b"\r\n" for file in files) + f"--{boundary}--\r\n".encode()
    said = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
    return body, {"Content-Type": said}


def values(dataset: dict[str, Any], sequence: str, tag: str) -> list[Any]:
    """The first value of an attribute in each item of a sequence (DICOM JSON)."""
    items = dataset.get(sequence, {}).get("Value", [])
    return [item[tag]["Value"][0] for item in items if tag in item]
