"""``$validate`` (R4 resource-operation-validate): what intake would say of a resource, and nothing is kept.

The resource comes by itself, or as ``resource`` of Parameters, beside ``mode`` and ``profile``. Profiles are
not known here, and an outcome says nothing of a rule that it did not look at: a profile is refused.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from gateway.body import BadBody, read_json
from gateway.resources.intake import BOM, validated
from gateway.resources.issues import Issue, outcome

MODES = ("create", "update", "delete")


class _Parameter(Struct, rename="camel"):
    name: str = ""
    value_code: str = ""
    value_uri: str = ""
    resource: Raw = Raw()


class _Body(Struct, rename="camel"):
    resource_type: str = ""
    parameter: tuple[_Parameter, ...] = ()


def validate(raw: bytes, type_: str, id_: str = "", mode: str = "") -> bytes:
    """The OperationOutcome on a resource of this type, to be put at ``id_`` where one is given.

    Raises:
        BadBody: 400 for what is no JSON, and for a mode or a profile that is not offered.
    """
    body = raw.removeprefix(BOM)
    read_json(body)
    resource: bytes = body
    if _read(body).resource_type == "Parameters":
        resource = b""
        for parameter in _read(body).parameter:
            if parameter.name == "resource":
                resource = bytes(parameter.resource)
            elif parameter.name == "mode":
                mode = parameter.value_code
            else:
                raise BadBody(f"{parameter.name[:64]}", "not offered", "send resource and mode", 400)
    if mode not in ("", *MODES):
        raise BadBody("mode", "not offered", f"use {', '.join(MODES)}", 400)
    if resource:
        found = validated(resource, type_, id_ if mode != "create" else "")
    elif mode == "delete":
        found = ()
    else:
        found = (Issue("Parameters.parameter", "required", "there is no resource to look at"),)
    return msgspec.json.encode(outcome(found))


def _read(body: bytes) -> _Body:
    try:
        return msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError:
        return _Body()
