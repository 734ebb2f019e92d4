"""A mark that is withdrawn counts no more in the next check, and whoever relied on it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Document
from gateway.cli import app
from gateway.commands.common import Stop
from gateway.demo.people import BY_KEY
from gateway.errors import EvidenceUnavailable
from gateway.keeper import roots_of
from gateway.keyring import open_keys
from gateway.marks.index import index_of, issue_key
from gateway.marks.withdrawing import Withdrawals
from gateway.model import CheckAnswer, NoticesOut, VerdictOut, WithdrawalOut
from gateway.signing import Signing
from gateway.wiring import open_store
from recognition import digest
from security import mark as marks
from security import status
from security.errors import MarkRefused
from security.mark import Claims
from security.trust import TrustList
from tests.gateway.live import OWN, PASSPHRASE, Live, ask, audit, body, gateway_over_source
from tests.recognition.cases import lab
from tests.security.material import CLAIMS, LOG_KEY, MARK_KEY

WHITE, RED, PLATELETS = "白细胞计数", "血红蛋白", "血小板计数"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway over a real node; in the end its ledger holds."""
    with gateway_over_source(tmp_path_factory.mktemp("withdrawing")) as live:
        yield live
        assert audit(live, tmp_path_factory.mktemp("audit")) == []


def checked(live: Live, person: str, name: str) -> tuple[CheckAnswer, VerdictOut]:
    """The answer to a check of one item, and its only verdict."""
    answer = ask(live.client(), body(name, patient=BY_KEY[person].number))
    (verdict,) = answer.verdicts
    return answer, verdict


def mark_of(verdict: VerdictOut) -> str:
    assert verdict.mark is not None
    return verdict.mark.id


def rules(verdict: VerdictOut) -> list[str]:
    return [reason.rule for reason in verdict.reasons]


def withdraw(live: Live, mark_id: str, client: str = "steward", **asked: Any) -> httpx.Response:
    asked = {"reason": "evaluation-failed"} | asked
    return live.client(client).post(f"/api/v1/marks/{mark_id}/withdrawal", json=asked)


def notices(live: Live, since: int = 0, client: str = "his") -> NoticesOut:
    response = live.client(client).get("/api/v1/withdrawals", params={"since": since})
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=NoticesOut)


def amended(live: Live, place: str, **changes: Any) -> None:
    """Let the hospital write another version of a record."""
    url = live.settings.nodes[0].url
    resource = httpx.get(f"{url}/{place}", trust_env=False).json() | changes
    headers = {"Content-Type": "application/fhir+json"}
    response = httpx.put(
        f"{url}/{place}", content=msgspec.json.encode(resource), headers=headers, trust_env=False
    )
    assert response.status_code in (200, 201), response.text


def trust_of(live: Live) -> TrustList:
    roots = roots_of(open_keys(live.settings), "cq")
    return TrustList(roots).add(live.client("").get("/trust/keys").content, datetime.now(UTC))


def test_a_withdrawn_mark_is_not_recognised_in_the_next_check(live: Live) -> None:
    before, verdict = checked(live, "jia", WHITE)
    assert verdict.verdict == "recognised"
    out = withdraw(live, mark_of(verdict))
    assert out.status_code == 200, out.text
    kept = msgspec.json.decode(out.content, type=WithdrawalOut)
    assert kept.ledger.index >= 0
    _, after = checked(live, "jia", WHITE)
    assert (after.verdict, rules(after)) == ("not_recognised", ["R4.4"])
    assert mark_of(after) == mark_of(verdict)
    again = live.client().get(f"/api/v1/checks/{before.id}").json()
    assert [one["mark"] for one in again["withdrawn"]] == [mark_of(verdict)]
    assert again["verdicts"][0]["verdict"] == "recognised"  # what was answered stays


def test_a_repeated_withdrawal_changes_nothing(live: Live) -> None:
    _, verdict = checked(live, "jia", RED)
    first = withdraw(live, mark_of(verdict), reason="amended")
    kept = live.kept()
    second = withdraw(live, mark_of(verdict), reason="other", text="另一理由")
    assert second.json() == first.json()
    assert live.kept()[:2] == kept[:2]


def test_the_institution_that_recognised_it_is_told_and_no_other(live: Live) -> None:
    answer, verdict = checked(live, "jia", PLATELETS)
    withdraw(live, mark_of(verdict), client="his", reason="entered-in-error")
    told = [one for one in notices(live).withdrawals if one.mark == mark_of(verdict)]
    assert [(one.check, one.result, one.reason) for one in told] == [
        (answer.id, verdict.result.id, "entered-in-error")
    ]
    assert notices(live, client="other").withdrawals == ()
    assert mark_of(verdict) in [one.mark for one in notices(live, client="auditor").withdrawals]


def test_a_fresh_withdrawal_is_told_again_so_that_no_check_slips_through(live: Live) -> None:
    _, verdict = checked(live, "ji", WHITE)
    withdraw(live, mark_of(verdict))
    page = notices(live)
    assert mark_of(verdict) in [one.mark for one in notices(live, since=page.next).withdrawals]


def test_whoever_has_no_token_is_told_that_first(live: Live) -> None:
    assert live.client("").get("/api/v1/withdrawals", params={"since": "x"}).status_code == 401


@pytest.mark.parametrize("client", ["other", "own-steward"])
def test_only_the_own_institution_withdraws(live: Live, client: str) -> None:
    _, verdict = checked(live, "ji", RED)
    response = withdraw(live, mark_of(verdict), client=client)
    assert response.status_code == (403 if client == "other" else 200), response.text


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"reason": "unliked"}, "reason"),
        ({"reason": "other"}, "text"),
        ({"reason": "amended", "text": "见报告 990000199001010011"}, "text"),
        ({"reason": "amended", "text": "见 ９９００００１９９００１０１００１１"}, "text"),
        ({"reason": "amended", "text": "见 990 000 1990"}, "text"),
    ],
)
def test_odd_words_are_refused(live: Live, asked: dict[str, str], field: str) -> None:
    _, verdict = checked(live, "ji", PLATELETS)
    response = withdraw(live, mark_of(verdict), **asked)
    assert response.status_code == 422
    assert response.json()["field"] == field


@pytest.mark.parametrize("mark_id", ["0" * 32, "x", "0" * 33, "A" * 32])
def test_a_mark_that_was_not_issued_here_is_not_found(live: Live, mark_id: str) -> None:
    assert withdraw(live, mark_id).status_code == 404
    assert live.client("").get(f"/trust/marks/{mark_id}").status_code == 404


def test_the_status_list_says_it_and_a_mark_is_checked_by_it_offline(live: Live) -> None:
    _, verdict = checked(live, "jie", WHITE)
    assert verdict.mark is not None
    withdraw(live, mark_of(verdict))
    response = live.client("").get("/trust/status")
    assert response.headers["content-type"] == "application/cose"
    now, trust = datetime.now(UTC), trust_of(live)
    held = status.verify(response.content, trust=trust, now=now)
    found = held.find(bytes.fromhex(mark_of(verdict)))
    assert found is not None
    assert found.reason == "evaluation-failed"
    with pytest.raises(MarkRefused) as refused:
        marks.verify(verdict.mark.signed, trust=trust, now=now, withdrawn=held.withdrawn)
    assert refused.value.step == "withdrawn"


def test_the_status_list_may_be_kept_by_whoever_passes_it_on(live: Live) -> None:
    first = live.client("").get("/trust/status")
    assert first.headers["cache-control"] == "public, max-age=60"
    second = live.client("").get("/trust/status", headers={"If-None-Match": first.headers["etag"]})
    assert (second.status_code, second.content) == (304, b"")


def test_everybody_can_ask_for_the_state_of_one_mark(live: Live) -> None:
    _, verdict = checked(live, "jie", RED)
    place = f"/trust/marks/{mark_of(verdict)}"
    assert live.client("").get(place).json()["status"] == "valid"
    withdraw(live, mark_of(verdict), reason="amended")
    said = live.client("").get(place).json()
    assert (said["status"], said["reason"], said["zh"]) == ("withdrawn", "amended", "报告已更正")


def test_a_mark_whose_key_does_not_count_is_not_called_valid(live: Live) -> None:
    foreign = replace(CLAIMS, mark_id=bytes([7] * 16))
    document = Document(
        kind="mark", id=foreign.mark_id.hex(), body=marks.issue(foreign, MARK_KEY), at=datetime.now(UTC)
    )

    async def keep() -> None:
        store = open_store(live.settings)
        await store.open()
        await store.replace(document)
        await store.close()

    asyncio.run(keep())
    said = live.client("").get(f"/trust/marks/{foreign.mark_id.hex()}").json()
    assert (said["status"], said["zh"]) == ("invalid", "签发密钥已失效")


def test_an_amended_report_withdraws_the_mark_of_its_former_version(live: Live) -> None:
    _, verdict = checked(live, "mao", WHITE)
    issued = datetime.now(UTC).isoformat(timespec="seconds")
    amended(
        live,
        "Observation/usual-mao-1-v1",
        status="corrected",
        issued=issued,
        valueQuantity={"value": 6.9, "unit": "10^9/L"},
    )
    _, after = checked(live, "mao", WHITE)
    assert (after.verdict, after.result.value) == ("recognised", "6.9")
    assert mark_of(after) != mark_of(verdict)
    said = live.client("").get(f"/trust/marks/{mark_of(verdict)}").json()
    assert (said["status"], said["reason"]) == ("withdrawn", "amended")
    assert {"mark": mark_of(verdict), "by": "cq", "reason": "amended"}.items() <= live.events(
        "mark_withdrawn"
    )[-1].items()


def test_a_retracted_report_withdraws_its_mark(live: Live) -> None:
    _, verdict = checked(live, "mao", RED)
    amended(live, "Observation/usual-mao-2-v1", status="entered-in-error")
    _, after = checked(live, "mao", RED)
    assert after.verdict == "not_recognised"
    said = live.client("").get(f"/trust/marks/{mark_of(verdict)}").json()
    assert (said["status"], said["reason"]) == ("withdrawn", "entered-in-error")


def test_marks_of_an_institution_and_a_time_are_withdrawn_beside_the_running_gateway(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, verdict = checked(live, "mao", PLATELETS)
    _, other = checked(live, "jie", PLATELETS)
    config = tmp_path / "lianren.toml"
    config.write_text(_toml(live), encoding="utf-8")
    last = date.today() + timedelta(days=1)  # noqa: DTZ011 - a bound beyond every zone's today
    item = verdict.item.code if verdict.item else ""
    arguments = [
        *("mark", "withdraw", "--config", str(config), "--reason", "evaluation-failed", "--yes", "--json"),
        *("--institution", OWN, "--item", item, "--from", str(last - timedelta(days=400)), "--to", str(last)),
    ]
    app(arguments, standalone_mode=False)
    withdrawn = msgspec.json.decode(capsys.readouterr().out)["withdrawn"]
    assert {mark_of(verdict), mark_of(other)} <= set(withdrawn)
    _, after = checked(live, "mao", PLATELETS)
    assert rules(after) == ["R4.4"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--reason", "other", "--mark", "0" * 32], "must say why"),
        (["--reason", "amended", "--mark", "0" * 32, "--text", "报告 990000199001010011"], "without numbers"),
        (["--reason", "amended", "--mark", "0" * 32, "--text", "词" * 201], "--text"),
        (["--reason", "amended", "--mark", "0" * 32], "not issued here"),
    ],
)
def test_the_command_refuses_what_the_interface_refuses(
    live: Live, tmp_path: Path, arguments: list[str], why: str
) -> None:
    config = tmp_path / "lianren.toml"
    config.write_text(_toml(live), encoding="utf-8")
    with pytest.raises(Stop) as stopped:
        app(["mark", "withdraw", "--config", str(config), "--yes", *arguments], standalone_mode=False)
    assert why in str(stopped.value)


def test_no_log_line_or_leaf_tells_the_words_of_a_withdrawal(live: Live) -> None:
    _, verdict = checked(live, "ding", "白蛋白")
    withdraw(live, mark_of(verdict), reason="other", text="标本溶血")
    assert "标本溶血" not in live.log.getvalue()
    bundle = b"".join(
        live.client("").get(f"/ledger/tile/entries/000.p/{width}").content for width in _partial(live)
    )
    assert mark_of(verdict).encode() in bundle
    assert "标本溶血".encode() not in bundle


def _partial(live: Live) -> list[int]:
    """The width of the ledger's first bundle of entries."""
    size = int(live.client("").get("/ledger/checkpoint").text.split("\n")[1])
    return [size] if size < 256 else []


def _toml(live: Live) -> str:
    settings = live.settings
    (passphrase := settings.data_dir.parent / "passphrase").write_bytes(PASSPHRASE)
    passphrase.chmod(0o600)
    values = {
        "name": settings.name,
        "owner": settings.owner,
        "region": settings.region,
        "base_url": settings.base_url,
        "data_dir": str(settings.data_dir),
        "key_passphrase_file": str(passphrase),
    }
    return "".join(f'{name} = "{value}"\n' for name, value in values.items())


ORIGIN = "cq.lianren.example/exchange"


def replica(store: SqliteStore) -> tuple[Sequencer, Withdrawals]:
    """One of several processes over a store."""
    sequencer = Sequencer(store, [LOG_KEY], ORIGIN)
    return sequencer, Withdrawals("cq", sequencer, Signing([MARK_KEY]))


def numbered(count: int) -> list[Claims]:
    return [replace(CLAIMS, mark_id=n.to_bytes(16), digest=n.to_bytes(32)) for n in range(1, count + 1)]


def test_replicas_number_their_withdrawals_without_gaps_and_make_none_twice(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        pairs = [replica(store) for _ in range(3)]
        for sequencer, _ in pairs:
            await sequencer.start()
        both, now = numbered(20), datetime.now(UTC)
        kept = await asyncio.gather(
            *(
                withdrawals.withdraw([claims], "amended", by="test", now=now)
                for claims in both
                for _, withdrawals in pairs
            )
        )
        assert sorted(one.mark for made in kept for one in made) == [c.mark_id.hex() for c in both]
        for _, withdrawals in pairs:
            await withdrawals.refresh()
            assert [told.number for told in withdrawals.after(0)] == list(range(1, 21))
        assert (await store.head()).size == 20
        for sequencer, _ in pairs:
            await sequencer.close()
        await store.close()

    asyncio.run(run())


class Far(SqliteStore):
    """A store that lets other tasks run while it answers, as one behind a network does."""

    async def documents(self, kind: str, after: str = "", limit: int = 100) -> list[Document]:
        await asyncio.sleep(0)
        found = await super().documents(kind, after, limit)
        await asyncio.sleep(0)
        return found


def test_tasks_that_look_at_once_number_each_withdrawal_once(tmp_path: Path) -> None:
    async def run() -> None:
        store = Far(tmp_path / "store")
        await store.open()
        sequencer, withdrawals = replica(store)
        await sequencer.start()
        now = datetime.now(UTC)
        await asyncio.gather(
            *(withdrawals.withdraw([one], "amended", by="test", now=now) for one in numbered(10))
        )
        _, again = replica(store)
        await asyncio.gather(*(again.refresh() for _ in range(3)))
        for each in (withdrawals, again):
            assert [told.number for told in each.after(0)] == list(range(1, 11))
        await sequencer.close()
        await store.close()

    asyncio.run(run())


def test_a_mark_from_before_ids_told_the_time_is_withdrawn_with_the_others(tmp_path: Path) -> None:
    """Version 0.2.0 gave random ids, and kept no index."""

    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        sequencer, withdrawals = replica(store)
        await sequencer.start()
        old = replace(CLAIMS, mark_id=bytes(15) + b"\x01", status="")
        key = issue_key(old.digest.hex(), old.item, old.scope, old.catalogue, old.issued.year)
        body, id_ = marks.issue(old, MARK_KEY), old.mark_id.hex()
        await store.replace(Document(kind="mark", id=id_, key=key, body=body, at=old.issued))
        day = old.performed.date()
        found = await withdrawals.of_institution(old.institution, "", day, day + timedelta(days=1))
        assert [claims.mark_id for claims in found] == [old.mark_id]
        new = replace(old, mark_id=bytes([9] * 16), status="http://127.0.0.1/trust/status")
        made = await withdrawals.withdraw([new], "amended", by="test", now=datetime.now(UTC))
        assert {one.mark for one in made} == {old.mark_id.hex(), new.mark_id.hex()}
        await sequencer.close()
        await store.close()

    asyncio.run(run())


def test_a_restart_forgets_no_withdrawal(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        sequencer, withdrawals = replica(store)
        await sequencer.start()
        now = datetime.now(UTC)
        expired = replace(CLAIMS, mark_id=bytes(15) + b"\xff", expires=now - timedelta(days=1))
        living = [replace(one, expires=now + timedelta(days=1)) for one in numbered(3)]
        await withdrawals.withdraw([*living, expired], "other", by="test", now=now)
        _, again = replica(store)
        _, data = await again.status_list(now)
        held = status.read(data)
        assert held.number == 4
        assert [one.mark_id for one in held] == [one.mark_id for one in living]  # an expired one is dropped
        assert again.of_result(living[0].digest.hex(), CLAIMS.item) is not None
        await sequencer.close()
        await store.close()

    asyncio.run(run())


def test_what_cannot_be_written_down_is_not_withdrawn(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        sequencer, withdrawals = replica(store)  # not started: the ledger takes nothing
        with pytest.raises(EvidenceUnavailable):
            await withdrawals.withdraw(numbered(1), "amended", by="test", now=datetime.now(UTC))
        assert withdrawals.of_mark(numbered(1)[0].mark_id.hex()) is None
        await sequencer.close()
        await store.close()

    asyncio.run(run())


def test_withdrawing_a_mark_withdraws_all_marks_of_the_same_result_and_item(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        sequencer, withdrawals = replica(store)
        await sequencer.start()
        now, result = datetime.now(UTC), lab()
        claims = replace(CLAIMS, digest=digest(result), digest_hash="sha256")
        wide, narrow = (replace(claims, mark_id=bytes([n] * 16)) for n in (1, 2))
        other = replace(claims, mark_id=bytes([3] * 16), item="another")
        for one in (wide, narrow, other):
            data = marks.issue(one, MARK_KEY)
            kept = Document(kind="mark", id=one.mark_id.hex(), body=data, at=now)
            await sequencer.append([], [kept, *index_of(result, one, "00" * 32, now)])
        made = await withdrawals.withdraw([narrow], "amended", by="test", now=now)
        assert {one.mark for one in made} == {wide.mark_id.hex(), narrow.mark_id.hex()}
        await sequencer.close()
        await store.close()

    asyncio.run(run())
