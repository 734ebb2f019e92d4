"""A small client for the plain REST face of a Lianren gateway. It needs httpx alone; copy it.

    GATEWAY=https://… TOKEN=token.txt PATIENT=number.txt python lianren_client.py

It keeps three rules. An order is never held up: where the gateway does not answer, :class:`Unavailable` says
so, and the doctor goes on as without it. A call that broke off is repeated with the same request id, and
counts once. A person's number travels in bodies only, and stands in no log and no exception.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]


class Unavailable(Exception):
    """The gateway cannot answer now (5xx), is busy (429), or cannot be reached: go on as without it."""


class Refused(Exception):
    """The gateway refuses the call: ``code`` and ``field`` say what is wrong with it (docs/errors.md)."""

    def __init__(self, problem: Json) -> None:
        super().__init__(f"{problem['code']} {problem.get('field', '')}: {problem['detail']}")
        self.status: int = problem["status"]
        self.code: str = problem["code"]
        self.field: str = problem.get("field", "")


class Lianren:
    """One gateway. ``token`` gives a bearer token that counts now; ``patience`` is in seconds."""

    def __init__(self, base_url: str, token: Callable[[], str], patience: float = 2.0) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=patience)
        self._token = token

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def history(self, patient: Json, days: int = 30) -> Json:
        """At reception: what the patient has, to be shown in a box."""
        asked = {"patient": patient, "moment": "reception", "look_back_days": days}
        return self._post("/api/v1/reminders", asked | {"request_id": uuid.uuid4().hex})

    def before_order(self, patient: Json, names: Sequence[str], **context: Any) -> Json:
        """Before the order is signed: the check of what is planned, by the hospital's own names."""
        planned = [{"name": name} for name in names]
        asked = {"patient": patient, "planned": planned, "context": context}
        return self._post("/api/v1/checks", asked | {"request_id": uuid.uuid4().hex})

    def recognise(self, check: str, results: Sequence[str] = ()) -> Json:
        """互认: the doctor uses these results (all that are open, where none is named)."""
        return self._decide(check, "recognise", results)

    def decline(
        self, check: str, system: str, code: str, text: str = "", results: Sequence[str] = ()
    ) -> Json:
        """不互认: the doctor does not use them, for a published reason."""
        return self._decide(check, "not_recognise", results, system=system, code=code, text=text)

    def withdraw(self, check: str, results: Sequence[str] = ()) -> Json:
        """撤销: what was decided is open again."""
        return self._decide(check, "withdraw", results)

    def cite(self, check: str, results: Sequence[str] = ()) -> str:
        """引用: the sentences for the record."""
        return str(self._post(f"/api/v1/checks/{check}/citations", {"results": [*results]})["text"])

    def _decide(self, check: str, decision: str, results: Sequence[str], **reason: str) -> Json:
        told = {"request_id": uuid.uuid4().hex, "decision": decision, "results": [*results], **reason}
        return self._post(f"/api/v1/checks/{check}/decision", told)

    def _post(self, path: str, body: Json, again: bool = True) -> Json:
        headers = {"Authorization": f"Bearer {self._token()}"}
        try:
            answer = self._http.post(path, json=body, headers=headers)
        except httpx.TransportError as wrong:
            if again:  # with the same request id, so that it counts once
                return self._post(path, body, again=False)
            raise Unavailable("the gateway cannot be reached") from wrong
        if answer.status_code == 429 or answer.is_server_error:
            raise Unavailable("the gateway does not answer now")
        if answer.is_error:
            raise Refused(answer.json())
        return dict(answer.json())


def main() -> None:
    """One visit, told on the screen."""
    token = Path(os.environ["TOKEN"])
    with closing(Lianren(os.environ["GATEWAY"], lambda: token.read_text().strip())) as gateway:
        visit(gateway)


def visit(gateway: Lianren) -> None:
    """Reception, order, decision, record."""
    patient = {"type": "resident-id", "value": Path(os.environ["PATIENT"]).read_text().strip()}
    print("接诊 reception:", gateway.history(patient)["zh"])
    check = gateway.before_order(patient, ["胸部CT平扫"], setting="outpatient")
    print("开单 order:", *(advice["zh"] for advice in check["advice"]))
    if not check["complete"]:
        print("查询不完整 not every node was heard")
    recognised = [one["result"]["id"] for one in check["verdicts"] if one["verdict"] == "recognised"]
    if recognised:
        print("处置 decision:", gateway.recognise(check["id"], recognised)["state"])
        print("病历 record:", gateway.cite(check["id"], recognised))


if __name__ == "__main__":
    main()
