"""Oblivious pseudonyms (RFC 9497). Every number here is made up: its area code 999999 is nobody's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from security.errors import IdentityRefused, KeyStoreError, SignatureRefused
from security.identity import identifier
from security.keys import to_base64url
from security.pseudonym import Pseudonymiser
from tests.serving import serve

voprf = pytest.importorskip("voprf", reason="the extra oprf is not installed")

from security.oprf import Epoch, Evaluator, OprfPseudonymiser  # noqa: E402

SEED = bytes(range(32))
GOOD = "999999199001010016"
PERSON = identifier("resident-id", GOOD)
SERVICE = Evaluator(SEED, "2026a")


def over(service: Evaluator, *, pinned: bytes | None = None, recipient: str = "sc") -> Epoch:
    return Epoch(service.epoch, {recipient: pinned or service.public_key(recipient)}, service.evaluate)


def made(*epochs: Epoch, person: str = GOOD, recipient: str = "sc") -> tuple[str, ...]:
    maker: Pseudonymiser = OprfPseudonymiser(epochs)
    return asyncio.run(maker.pseudonyms(identifier("resident-id", person), recipient)).all


# RFC 9497 appendix A.1.2 (ristretto255-SHA512, VOPRF), what does not need a chosen blind: key and outputs.
RFC_SEED, RFC_INFO = bytes([0xA3]) * 32, b"test key"
RFC_PUBLIC = "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e"
RFC_VECTORS = [
    (
        "00",
        "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
        "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
        "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d",
        "a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c",
    ),
    (
        "5a" * 17,
        "cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c",
        "60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468",
        "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60",
        "356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6",
    ),
]


@pytest.mark.parametrize(("input_", "blinded", "evaluated", "first", "second"), RFC_VECTORS)
def test_the_group_gives_the_vectors_of_rfc_9497(
    input_: str, blinded: str, evaluated: str, first: str, second: str
) -> None:
    group = voprf.ristretto
    key = group.Evaluator.from_seed(RFC_SEED, RFC_INFO)
    assert key.public_key.serialize().hex() == RFC_PUBLIC
    answered = key.evaluate(group.BlindedInput.deserialize(bytes.fromhex(blinded))).serialize()
    assert evaluated in answered.hex()
    assert key.evaluate_known_input(bytes.fromhex(input_)).hex() == first + second


def test_a_pseudonym_is_the_same_at_every_asking() -> None:
    assert made(over(SERVICE)) == made(over(Evaluator(SEED, "2026a")), person="999999900101001")


def test_a_pseudonym_stays_what_it_is() -> None:
    assert made(over(SERVICE)) == ("2026a.GU9CzzlDf_FZBDSAHxI8oFAONeLos6hr2GzBj0Xkvco",)


def test_a_pseudonym_is_what_the_service_would_make_of_the_number_itself() -> None:
    key = voprf.ristretto.Evaluator.from_seed(SEED, b"lianren oprf v1\x002026a\x00sc")
    output = key.evaluate_known_input(f"{PERSON.system}\0{GOOD}".encode())
    assert made(over(SERVICE)) == (f"2026a.{to_base64url(output[:32])}",)


def test_pseudonyms_differ_by_person_recipient_epoch_and_seed() -> None:
    other = Evaluator(SEED, "2026b")
    found = {
        *made(over(SERVICE)),
        *made(over(SERVICE), person="99999919900101018X"),
        *made(over(SERVICE, recipient="lab8"), recipient="lab8"),
        *made(over(other)),
        *made(over(Evaluator(SEED[::-1], "2026a"))),
    }
    assert len({text.partition(".")[2] for text in found}) == 5


def test_former_epochs_are_asked_too() -> None:
    newer = Evaluator(bytes(32), "2027a")
    current, former = made(over(newer), over(SERVICE))
    assert (current, former) == (*made(over(newer)), *made(over(SERVICE)))


def test_the_service_sees_another_point_at_every_asking_and_never_the_number() -> None:
    seen: list[bytes] = []

    async def evaluate(blinded: bytes, recipient: str) -> bytes:
        seen.append(blinded)
        return await SERVICE.evaluate(blinded, recipient)

    epoch = Epoch("2026a", {"sc": SERVICE.public_key("sc")}, evaluate)
    assert made(epoch) == made(epoch)
    assert len({*seen}) == 2
    assert not any(GOOD.encode() in point for point in seen)


def test_a_service_that_uses_another_key_than_the_pinned_one_is_found_out() -> None:
    with pytest.raises(SignatureRefused) as refused:
        made(over(SERVICE, pinned=SERVICE.public_key("lab8")))
    assert GOOD not in str(refused.value)


@pytest.mark.parametrize("answered", [b"", bytes(96), b"\xff" * 96, bytes(95), bytes(97)])
def test_an_answer_that_proves_nothing_is_refused(answered: bytes) -> None:
    async def evaluate(blinded: bytes, recipient: str) -> bytes:
        return answered

    with pytest.raises(SignatureRefused):
        made(Epoch("2026a", {"sc": SERVICE.public_key("sc")}, evaluate))


@settings(max_examples=25)
@given(place=st.integers(0, 95), bit=st.integers(0, 7))
def test_one_changed_bit_of_an_answer_is_noticed(place: int, bit: int) -> None:
    async def evaluate(blinded: bytes, recipient: str) -> bytes:
        answered = bytearray(await SERVICE.evaluate(blinded, recipient))
        answered[place] ^= 1 << bit
        return bytes(answered)

    with pytest.raises(SignatureRefused):
        made(Epoch("2026a", {"sc": SERVICE.public_key("sc")}, evaluate))


@given(st.binary(max_size=64))
def test_no_bytes_make_the_service_fail_otherwise(blinded: bytes) -> None:
    with suppress(IdentityRefused):
        assert len(asyncio.run(SERVICE.evaluate(blinded, "sc"))) == 96


def test_a_recipient_without_a_pinned_key_gets_no_pseudonym() -> None:
    with pytest.raises(KeyStoreError, match="lab8"):
        made(over(SERVICE), recipient="lab8")


def test_a_short_seed_an_unfit_epoch_or_no_service_at_all_is_refused() -> None:
    with pytest.raises(KeyStoreError):
        Evaluator(bytes(31), "2026a")
    with pytest.raises(KeyStoreError):
        Evaluator(SEED, "2026.a")
    with pytest.raises(KeyStoreError):
        OprfPseudonymiser([])


def test_printing_a_service_hides_its_seed() -> None:
    assert repr(SERVICE) == "Evaluator(epoch 2026a)"


def test_the_service_may_be_somewhere_else() -> None:
    async def evaluate(request: Request) -> Response:
        body = await request.body()
        return Response(await SERVICE.evaluate(body, request.path_params["recipient"]))

    with serve(Starlette(routes=[Route("/{recipient}", evaluate, methods=["POST"])])) as url:

        async def ask(blinded: bytes, recipient: str) -> bytes:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.post(f"{url}/{recipient}", content=blinded)).content

        there = Epoch("2026a", {"sc": SERVICE.public_key("sc")}, ask)
        assert made(there) == made(over(SERVICE))


def test_without_the_extra_it_says_which_one_is_missing() -> None:
    code = (
        "import sys; sys.modules['voprf'] = None\n"
        "from security.oprf import Evaluator\n"
        "try: Evaluator(bytes(32), '2026a')\n"
        "except Exception as wrong: print(type(wrong).__name__, wrong)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("UnsupportedAlgorithm")
    assert "lianren[oprf]" in said
