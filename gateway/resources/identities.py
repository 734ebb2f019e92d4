"""Numbers of persons and organisations in a resource, as far as a number shows by itself that it is wrong.

Checked are the systems of persons' numbers (:data:`security.identity.SYSTEMS`) on Patient and Practitioner,
and two on Organization. The unified social credit code 统一社会信用代码 has a check character (GB 32100).
The register number 登记号 of the licence 医疗机构执业许可证 has 22 characters (WS 218-2002): organisation
code (8 and a check character), administrative division (6), economic type (2), class of institution (4, such
as A100), affiliation (1). No registered system was found for these two, so they have ours; a number whose
``type.text`` names it is checked under any system.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.resources.issues import Issue
from security.errors import IdentityRefused
from security.identity import identifier_in, organisation_code

CREDIT_CODE = "urn:lianren:unified-social-credit-code"
"""Identifier.system of 统一社会信用代码."""
LICENCE = "urn:lianren:medical-institution-licence"
"""Identifier.system of the 登记号 of 医疗机构执业许可证."""

_LICENCE = re.compile(r"[0-9A-Z]{8}-?[0-9X][1-9][0-9]{5}[0-9]{2}[A-Z][0-9]{3}[0-9]")
_NAMED = {"统一社会信用代码": CREDIT_CODE, "医疗机构执业许可证": LICENCE, "医疗机构登记号": LICENCE}


def wrong_numbers(resource: dict[str, Any], path: str) -> Iterator[Issue]:
    """The identifiers of a Patient, Practitioner or Organization that cannot be what they say they are.

    The words never repeat a number. A retired number (``use`` old) may have a form of its day.
    """
    for index, stated in enumerate(resource.get("identifier", ())):
        value, system = stated.get("value", ""), stated.get("system", "")
        if not value or stated.get("use") == "old":
            continue
        try:
            if resource["resourceType"] == "Organization":
                named = (_NAMED[word] for word in _NAMED if word in stated.get("type", {}).get("text", ""))
                _check_organisation(next(named, system), value)
            else:
                identifier_in(system, value)
        except IdentityRefused as refused:
            yield Issue(f"{path}.identifier[{index}].value", "value", str(refused))


def _check_organisation(system: str, value: str) -> None:
    if system == CREDIT_CODE:
        organisation_code(value)
    elif system == LICENCE and not _LICENCE.fullmatch(value.strip().upper()):
        raise IdentityRefused(
            "a 登记号 has 22 characters: organisation code, division, economic type, class, affiliation"
        )
