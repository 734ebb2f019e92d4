"""The life of a catalogue version: published, announced, in force, superseded; and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.store import Document
from catalog import BUNDLED, CatalogueError, read_folder
from catalog.entries import LATER
from gateway.catalogues import Catalogues
from gateway.keyring import open_keys
from gateway.log import Log
from gateway.settings import Settings
from gateway.wiring import open_catalogues, open_gateway
from security.ledger import opens, read_entry
from tests.gateway.live import Live, audit, gateway_with, started
from tests.gateway.publishing import (
    SECONDS,
    config_of,
    documents,
    edition,
    insert,
    inserting,
    lianren,
    published,
    soon,
    states,
    until,
    version_of,
)
from tests.gateway.test_evidence import entries

pytestmark = pytest.mark.slow

BUNDLED_VERSION = "2026.11-illustrative"
COUNT = len([folder for folder in BUNDLED.iterdir() if folder.is_dir()])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway without nodes that looks for editions every second."""
    with gateway_with(tmp_path_factory.mktemp("gateway"), [], catalogue_poll_s=1) as live:
        yield live


@pytest.fixture
def config(live: Live, tmp_path: Path) -> Path:
    return config_of(live, tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Live]:
    """A gateway of one test alone."""
    folder = tmp_path / "own"
    folder.mkdir()
    with gateway_with(folder, [], catalogue_poll_s=1) as live:
        yield live


def look(settings: Settings) -> Catalogues:
    """Everything that is published, as a command finds it."""

    async def run() -> Catalogues:
        async with open_catalogues(settings) as (catalogues, _):
            return catalogues

    return asyncio.run(run())


def start(settings: Settings) -> str:
    """Start a gateway, stop it again, and give its log."""
    log = io.StringIO()

    async def run() -> None:
        async with open_gateway(settings, Log(log)):
            pass

    asyncio.run(run())
    return log.getvalue()


# at the start


def test_the_first_start_publishes_the_bundled_editions(own: Live) -> None:
    assert set(states(own.client()).values()) == {"in_force"}
    assert len(states(own.client())) == COUNT


def test_every_published_edition_stands_in_the_ledger_with_its_signed_statement(own: Live) -> None:
    found = [one for one in entries(own, 0) if one[0].type == "catalogue"]
    kept = {json.loads(document.body)["entry"]: json.loads(document.body) for document in documents(own)}
    assert len(found) == COUNT
    for entry, raw, salt, payload in found:
        assert opens(raw, salt, payload)
        statement = json.loads(payload)
        assert payload.decode() == kept[entry.commit]["statement"]
        assert entry.scheme == f"{statement['id']}/{statement['version']}"


def test_the_ledger_with_published_editions_passes_an_audit(own: Live, tmp_path: Path) -> None:
    assert audit(own, tmp_path / "audit") == []


def test_editions_that_were_published_before_there_was_a_rule_stay_in_force(tmp_path: Path) -> None:
    before = shutil.copytree(BUNDLED, tmp_path / "before")
    rules = before / "national/rules.csv"
    lines = rules.read_text(encoding="utf-8").splitlines(keepends=True)
    rules.write_text("".join(line for line in lines if not line.startswith(LATER)), encoding="utf-8")
    with gateway_with(tmp_path, [], catalogue=before) as live:
        live.stop()
        settings = live.settings.model_copy(update={"catalogue": None})
        start(settings)
        assert look(settings).refused == {}


def test_a_second_start_publishes_nothing(own: Live) -> None:
    before = own.kept()[:2]
    own.stop()
    start(own.settings)
    assert own.kept()[:2] == before


def mine(tmp_path: Path, own: Live) -> Settings:
    """The same gateway with a catalogue folder of its own, which is a copy of the bundled one."""
    own.stop()
    shutil.copytree(BUNDLED, tmp_path / "mine")
    return own.settings.model_copy(update={"catalogue": tmp_path / "mine"})


def change_head(folder: Path, old: str, new: str) -> None:
    file = folder / "catalogue.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_other_content_under_a_published_version_keeps_a_gateway_from_starting(
    own: Live, tmp_path: Path
) -> None:
    settings = mine(tmp_path, own)
    change_head(tmp_path / "mine/cy-lab", "overlap_days = 30", "overlap_days = 31")
    with pytest.raises(CatalogueError, match=f"cy-lab@{BUNDLED_VERSION} version: is published with other"):
        start(settings)


def test_a_new_edition_in_the_folder_is_in_force_after_the_start_and_changes_no_past(
    own: Live, tmp_path: Path
) -> None:
    settings, before = mine(tmp_path, own), datetime.now(UTC)
    change_head(tmp_path / "mine/cy-lab", BUNDLED_VERSION, "2026.12")
    start(settings)
    catalogues = look(settings)
    assert "cy-lab@2026.12" in catalogues.rules.catalogue.version
    assert catalogues.at(before).catalogue.version == BUNDLED_VERSION
    assert catalogues.under(BUNDLED_VERSION).catalogue.version == BUNDLED_VERSION


def test_the_bundled_catalogue_is_not_laid_over_what_was_published(own: Live, tmp_path: Path) -> None:
    settings = mine(tmp_path, own)
    change_head(tmp_path / "mine/cy-lab", BUNDLED_VERSION, "2026.12")
    start(settings)
    start(own.settings)
    assert "cy-lab@2026.12" in look(settings).rules.catalogue.version


def test_a_client_without_an_institution_in_the_catalogue_is_named(own: Live) -> None:
    own.stop()
    clients = [own.settings.clients[0].model_copy(update={"institution": "EX-XX-99"})]
    with pytest.raises(Exception, match="EX-XX-99"):
        start(own.settings.model_copy(update={"clients": clients}))


# publishing


def test_a_dry_run_publishes_nothing(live: Live, config: Path, tmp_path: Path) -> None:
    before = live.kept()
    done = published(edition(tmp_path, "1", soon(), edition_id="ex-dry"), config, "--dry-run", "--json")
    told = json.loads(done.out)
    assert ([one["edition"]["id"] for one in told["editions"]], told["published"]) == (["ex-dry"], [])
    assert live.kept() == before


def test_without_a_terminal_nothing_is_asked_and_nothing_published(
    live: Live, config: Path, tmp_path: Path
) -> None:
    before = live.kept()
    done = lianren("catalog", "publish", edition(tmp_path, "1", soon(), edition_id="ex-ask"), "-c", config)
    assert (done.status, live.kept()) == (2, before)


@pytest.fixture(scope="module")
def announced(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an edition that takes force in ten minutes."""
    folder = tmp_path_factory.mktemp("announced")
    place = edition(folder, "1", soon(600), edition_id="ex-soon")
    published(place, config_of(live, folder))
    return place


def test_what_is_published_already_is_nothing_new(live: Live, config: Path, announced: Path) -> None:
    before = live.kept()
    assert "nothing new" in published(announced, config).out
    assert live.kept() == before


@pytest.mark.usefixtures("announced")
def test_the_diff_is_told_before_it_is_published(config: Path, tmp_path: Path) -> None:
    further = edition(tmp_path, "2", soon(1200), ("EX1", "EX2"), edition_id="ex-soon")
    told = json.loads(published(further, config, "--dry-run", "--json").out)
    assert any(change["table"] == "items" and "EX2" in change["keys"] for change in told["changes"])
    assert told["editions"][0]["supersedes"] == "1"


@pytest.mark.usefixtures("announced")
def test_versions_lists_every_edition_with_its_state(config: Path) -> None:
    told = json.loads(lianren("catalog", "versions", "-c", config, "--json").out)
    assert {one["id"]: one["state"] for one in told["editions"]}["ex-soon"] == "announced"
    assert "ex-soon@1  待生效 announced" in lianren("catalog", "versions", "-c", config).out


@pytest.mark.usefixtures("announced")
def test_the_doctor_names_a_change_over_that_is_to_come(config: Path) -> None:
    assert "✓ edition ex-soon@1: takes force on" in lianren("doctor", "-c", config).out


def test_a_time_that_is_past_needs_to_be_said_so_and_means_when_every_replica_has_looked(
    live: Live, config: Path, tmp_path: Path
) -> None:
    past = datetime.now(UTC) - timedelta(days=2)
    published(edition(tmp_path, "1", past, edition_id="ex-past"), config)  # the first of its id may
    second = edition(tmp_path, "2", past + timedelta(days=1), edition_id="ex-past")
    refused = lianren("catalog", "publish", second, "-c", config, "--yes")
    assert refused.status == 2
    assert "is past or too soon; set a time after" in refused.out
    published(second, config, "--yes", "--at-once")
    states_ = look(live.settings).states(datetime.now(UTC))
    since = next(one.effective_from for one in states_ if (one.id, one.version) == ("ex-past", "2"))
    assert timedelta() < since - datetime.now(UTC) <= 3 * SECONDS


def test_a_faulty_draft_names_its_faults_and_is_not_published(
    live: Live, config: Path, tmp_path: Path
) -> None:
    folder = edition(tmp_path, "1", soon(), edition_id="ex-bad")
    items = folder / "items_lab.csv"
    items.write_text(items.read_text("utf-8").replace(",ex-bad,", ",no-list,"), encoding="utf-8")
    before = live.kept()
    done = lianren("catalog", "publish", folder, "-c", config, "--yes")
    assert (done.status, live.kept()) == (2, before)
    assert "items_lab.csv:2 lists: 'no-list'" in done.out


# what is refused


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway into whose store editions are put past everything that guards it."""
    with gateway_with(tmp_path_factory.mktemp("attacked"), [], catalogue_poll_s=1) as live:
        yield live


def forge_document(live: Live, place: int, **changes: object) -> tuple[Document, str]:
    """A published edition once more, as the next of the chain, with other fields; and its name."""
    chain = documents(live)
    name = f"ex-forged@{len(chain)}"
    body_ = msgspec.json.encode(json.loads(chain[place].body) | changes)
    return Document(
        kind="edition", id=f"{len(chain) + 1:08d}", key=name, body=body_, at=datetime.now(UTC)
    ), name


def forge(live: Live, place: int, **changes: object) -> str:
    """Put a forged edition into the chain: why it is refused."""
    before = len(live.events("catalogue_refused"))
    forged, name = forge_document(live, place, **changes)
    insert(live.store, forged)
    until(lambda: len(live.events("catalogue_refused")) > before)
    event = live.events("catalogue_refused")[-1]
    assert event["edition"] == name
    return str(event["detail"])


def signed_by(kid: str) -> list[dict[str, str]]:
    return [{"kid": kid, "signature": "AA"}]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signatures": []}, "is no published edition"),
        ({"statement": "{}"}, "is no published edition"),
        ({"signatures": signed_by("sc-catalogue-202611a")}, "is no key of cq"),
        ({"files": {}}, "catalogue.toml: is missing"),
        ({}, "id: the files are those of"),
    ],
)
def test_a_forged_edition_is_refused_and_what_is_in_force_stays(
    attacked: Live, changes: dict[str, object], why: str
) -> None:
    assert why in forge(attacked, 0, **changes)
    assert version_of(attacked.client()) == BUNDLED_VERSION


def test_a_key_for_something_else_does_not_count(attacked: Live) -> None:
    kid = next(key.kid for key in open_keys(attacked.settings).list() if key.purpose == "mark")
    assert "is for 'mark', not for 'catalogue'" in forge(attacked, 0, signatures=signed_by(kid))


def test_a_changed_statement_is_refused(attacked: Live) -> None:
    statement = json.loads(documents(attacked)[0].body)["statement"]
    changed = statement.replace("2025-01-01", "2025-01-02")
    assert "does not verify" in forge(attacked, 0, statement=changed)


def test_changed_files_are_refused(attacked: Live) -> None:
    kept = msgspec.json.decode(documents(attacked)[0].body, type=dict[str, Any])
    head = b64decode(kept["files"]["catalogue.toml"]) + b"\n"
    files = kept["files"] | {"catalogue.toml": b64encode(head).decode()}
    assert "digest: the files are not those" in forge(attacked, 0, files=files)


def test_an_edition_without_its_entry_in_the_ledger_is_refused(own: Live) -> None:
    chain = documents(own)
    own.stop()
    body_ = msgspec.json.encode(json.loads(chain[0].body) | {"entry": "0" * 64})
    insert(own.store, msgspec.structs.replace(chain[0], body=body_))
    catalogues = look(own.settings)
    assert "entry: its entry is not in the ledger" in catalogues.refused[chain[0].key]


def test_an_edition_cannot_replace_another_before_it_was_published(own: Live, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    published(edition(tmp_path, "1", now - 60 * SECONDS), config_of(own, tmp_path))
    own.stop()
    late = read_folder(edition(tmp_path, "2", now - 30 * SECONDS))

    async def publish() -> Catalogues:
        async with open_catalogues(own.settings) as (catalogues, sequencer):
            await sequencer.start()
            prepared = catalogues.prepare(late, now, now - 60 * SECONDS)
            await catalogues.publish(prepared, sequencer, now)
            await sequencer.close()
            return catalogues

    catalogues = asyncio.run(publish())
    assert "effective_from: lies before it was published" in catalogues.refused["ex-lab@2"]
    assert "ex-lab@1" in catalogues.rules.catalogue.version


def test_what_is_refused_is_told_and_counted(attacked: Live) -> None:
    forge(attacked, 0, statement="{}")
    told = attacked.client().get("/api/v1/catalogues").json()["refused"]
    assert told == sorted({event["edition"] for event in attacked.events("catalogue_refused")})
    metrics = attacked.client().get("/metrics").text
    assert f"lianren_catalogue_editions_refused_total {len(told)}.0" in metrics


def test_an_edition_tampered_with_is_not_in_force_after_a_restart(own: Live, tmp_path: Path) -> None:
    config = config_of(own, tmp_path)
    published(edition(tmp_path, "1", soon(0.5)), config)
    until(lambda: states(own.client()).get("ex-lab@1") == "in_force")
    own.stop()
    document = documents(own)[-1]
    files = json.loads(document.body)["files"] | {"prices.csv": ""}
    body_ = msgspec.json.encode(json.loads(document.body) | {"files": files})
    insert(own.store, msgspec.structs.replace(document, body=body_))
    with started(own.settings, own.tokens) as again:
        assert version_of(again.client()) == BUNDLED_VERSION
        assert again.events("catalogue_refused")[0]["edition"] == "ex-lab@1"
    done = lianren("doctor", "-c", config)
    assert (done.status, "✗ edition ex-lab@1: refused" in done.out) == (1, True)


# what overlaps


@pytest.mark.parametrize(("status", "asked"), [("active,,", True), ("suspended,{since},示例原因", False)])
def test_a_dropped_code_is_not_decided_past_a_suspension(
    own: Live, tmp_path: Path, status: str, asked: bool
) -> None:
    now = datetime.now(UTC)
    head = (
        "id,institution,items,valid_from,valid_to,scope,level,basis,batch,status,status_from,reason,source\n"
    )
    row = "Q-EX,EX-SC-01,BOTH,2025-01-01,2035-12-31,CHUANYU,agreement,示例,,{status},a test\n"
    versions = [("1", -1, ("OLD1", "BOTH"), "active,,"), ("2", 1, ("BOTH",), status)]
    for version, hours, codes, said in versions:
        folder = edition(tmp_path, version, now + hours * 3600 * SECONDS, codes)
        text = head + row.format(status=said.format(since=f"{now:%Y-%m-%dT%H:%M:%S}Z"))
        (folder / "qualifications.csv").write_text(text, encoding="utf-8")
        published(folder, config_of(own, tmp_path))
    rules = look(own.settings).for_codes(now + 7200 * SECONDS, ["OLD1"])
    assert ("OLD1" in rules.catalogue.items) == asked


# who may look


def test_every_client_may_look_at_the_editions(live: Live) -> None:
    for name in ("his", "auditor", "peer", "nobody"):
        assert live.client(name).get("/api/v1/catalogues").status_code == 200


def test_nobody_else_may(live: Live) -> None:
    assert live.client("").get("/api/v1/catalogues").status_code == 401


def test_an_edition_tells_its_ledger_entry(live: Live) -> None:
    told = live.client().get("/api/v1/catalogues").json()["editions"][0]
    found = [read_entry(raw) for _, raw, _, _ in entries(live, 0)]
    assert told["entry"] in {entry.commit for entry in found if entry.type == "catalogue"}


def test_where_the_own_keys_cannot_be_read_an_edition_waits_until_they_can(own: Live, tmp_path: Path) -> None:
    key = next((own.settings.data_dir / "keys").glob("cq-catalogue-*.json"))
    forged, _ = forge_document(own, 0)
    put = inserting(own.store, forged)
    key.chmod(0o644)  # others could read it
    put()
    until(lambda: bool(own.events("catalogue_not_read")))
    assert own.events("catalogue_refused") == []
    key.chmod(0o600)
    until(lambda: bool(own.events("catalogue_refused")))
