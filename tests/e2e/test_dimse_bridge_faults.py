"""The bridge in front of archives that hang, refuse, break off, send too much, or name no character set."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from adapters.errors import NodeUnreachable
from gateway.bridge import Archive, create_bridge
from gateway.bridge.associations import FIND, GET, MOVE, QUERY, Associations
from gateway.demo.processes import LOOPBACK, free_port
from gateway.demo.studies import StoreRefused, store
from gateway.log import Log
from gateway.serving import config_of
from tests.adapters.transport_servers import Authority
from tests.e2e.test_dimse_bridge import STUDIES, UTF8, datasets
from tests.serving import serve

pytestmark = [
    pytest.mark.slow,
    # pynetdicom leaves the socket of a connection that was refused to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STUDY = f"/studies/{UTF8.StudyInstanceUID}"
IMAGES = STUDIES["utf-8"]
EVENTS = {"find": evt.EVT_C_FIND, "get": evt.EVT_C_GET, "move": evt.EVT_C_MOVE}
Handler = Callable[[evt.Event], Iterator[Any]]


class Fake:
    """An archive that does as the test says: ``does`` are its services. ``opened`` counts associations;
    ``over`` ends what hangs."""

    def __init__(
        self,
        port: int = 0,
        *,
        title: str = "PACS",
        offers: Iterable[str] = (FIND, GET, MOVE),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        ae = AE(ae_title=title)
        ae.require_called_aet = True
        for abstract in offers:
            ae.add_supported_context(abstract)
        ae.add_supported_context(UTF8.SOPClassUID, scu_role=True, scp_role=True)
        self.port = port or free_port()
        self.opened = 0
        self.stuck = False
        self.over = threading.Event()
        self.cancelled = threading.Event()
        self.does: dict[str, Handler] = {"find": one}
        bound: list[Any] = [(event, self._answer, [name]) for name, event in EVENTS.items()]
        bound += [(evt.EVT_ACCEPTED, self._count), (evt.EVT_PDU_RECV, self._stick)]
        bound.append((evt.EVT_CONN_OPEN, self._at_once))
        address = (LOOPBACK, self.port)
        self._server = ae.start_server(address, block=False, evt_handlers=bound, ssl_context=tls)

    def stop(self) -> None:
        self.over.set()
        assert self._server is not None
        self._server.shutdown()

    def _answer(self, event: evt.Event, name: str) -> Iterator[Any]:
        for step in self.does[name](event):
            if event.is_cancelled:
                self.cancelled.set()
                yield 0xFE00, None
                return
            yield step

    def _count(self, _: evt.Event) -> None:
        self.opened += 1

    def _at_once(self, event: evt.Event) -> None:
        """Send small PDUs without waiting for acknowledgements, as archives do."""
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]

    def _stick(self, event: evt.Event) -> None:
        """Read nothing more of an instance."""
        if self.stuck and isinstance(event.pdu, P_DATA_TF):
            self.over.wait(10)


def match(**more: str) -> Dataset:
    """An answer to any query."""
    found = Dataset()
    found.StudyInstanceUID = UTF8.StudyInstanceUID
    found.SeriesInstanceUID = UTF8.SeriesInstanceUID
    found.SOPInstanceUID = UTF8.SOPInstanceUID
    found.SOPClassUID = UTF8.SOPClassUID
    for keyword, value in more.items():
        setattr(found, keyword, value)
    return found


def one(_: evt.Event) -> Iterator[Any]:
    yield 0xFF00, match()


def sending(*steps: Any, to: int = 0, each: Callable[[evt.Event], object] = lambda _: None) -> Handler:
    """A retrieval: images to send, by C-MOVE to a port; a number ends it with that status."""

    def handler(event: evt.Event) -> Iterator[Any]:
        if to:
            yield LOOPBACK, to, {"contexts": [build_context(UTF8.SOPClassUID)]}
        yield len(steps)
        for step in steps:
            each(event)
            yield (step, None) if isinstance(step, int) else (0xFF00, step)

    return handler


@contextmanager
def bridged(port: int, **more: Any) -> Iterator[httpx.Client]:
    """A client of a bridge of little patience."""
    times: dict[str, Any] = {"connect_s": 1.0, "answer_s": 1.0, "progress_s": 1.0, **more}
    app = create_bridge(Archive(title="PACS", host=LOOPBACK, port=port, **times), Log(StringIO()))
    with (
        serve(app, config=config_of) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=20) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def archive() -> Iterator[Fake]:
    fake = Fake()
    yield fake
    fake.stop()


@pytest.fixture
def fake(archive: Fake) -> Iterator[Fake]:
    """That archive, for one test."""
    archive.over.clear()
    yield archive
    archive.over.set()
    archive.does, archive.stuck = {"find": one}, False


@pytest.fixture(scope="module")
def client(archive: Fake) -> Iterator[httpx.Client]:
    """A client of a bridge by C-GET."""
    with bridged(archive.port, most=10) as client:
        yield client


@pytest.fixture(scope="module")
def move_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def mover(archive: Fake, move_port: int) -> Iterator[httpx.Client]:
    """A client of a bridge by C-MOVE."""
    with bridged(archive.port, move_port=move_port) as client:
        yield client


def told(client: httpx.Client, path: str = "/studies") -> tuple[int, str]:
    """Status and detail of a refusal, which comes in good time."""
    began = time.monotonic()
    answer = client.get(path)
    assert time.monotonic() - began < 8
    return answer.status_code, answer.json()["detail"]


def test_nobody_listening_is_unreachable() -> None:
    with bridged(free_port()) as client:
        assert told(client) == (502, "the archive could not be reached")


def test_an_archive_that_never_opens_an_association_is_late() -> None:
    with closing(socket.create_server((LOOPBACK, 0))) as silent, bridged(silent.getsockname()[1]) as client:
        status, detail = told(client)
    assert (status, detail) == (504, "the archive connected, and did not open an association in time")


def test_a_rejected_association_is_told_with_its_reason() -> None:
    other = Fake(title="OTHER")
    with bridged(other.port) as client:
        status, detail = told(client)
    other.stop()
    assert status == 502
    assert "Called AE title not recognised" in detail


def test_an_archive_without_the_service_is_told() -> None:
    poor = Fake(offers=(FIND,))
    with bridged(poor.port) as client:
        assert told(client, STUDY) == (502, "the archive does not offer C-GET (Study Root)")
    poor.stop()


def test_an_archive_is_asked_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    secret = Fake(tls=authority.server())
    with bridged(secret.port, tls=ssl.create_default_context(cafile=authority.file)) as client:
        assert client.get("/studies").status_code == 200
    secret.stop()


def test_an_archive_with_a_certificate_of_another_authority_is_not_asked(tmp_path: Path) -> None:
    secret = Fake(tls=Authority(tmp_path).server())
    with bridged(secret.port, tls=ssl.create_default_context()) as client:
        assert told(client) == (502, "the archive could not be reached")
    secret.stop()


def test_an_association_that_the_archive_ended_is_made_anew() -> None:
    port = free_port()
    with bridged(port) as client:
        for _ in range(2):
            again = Fake(port)
            assert client.get("/studies").status_code == 200
            again.stop()


def test_an_association_is_used_again(fake: Fake, client: httpx.Client) -> None:
    before = fake.opened
    for _ in range(3):
        assert client.get("/studies").status_code == 200
    assert fake.opened - before <= 1


def test_an_answer_is_left_to_who_asked(fake: Fake) -> None:
    associations = Associations(Archive(title="PACS", host=LOOPBACK, port=fake.port))
    with associations.lent(QUERY) as (association, _):
        association.dimse.msg_queue.put((1, "an answer"))  # type: ignore[arg-type]
        time.sleep(0.05)
        assert association.dimse.msg_queue.qsize() == 1
    associations.close()


def test_an_association_that_ends_while_it_is_lent_is_a_fault_of_the_archive(fake: Fake) -> None:
    associations = Associations(Archive(title="PACS", host=LOOPBACK, port=fake.port))

    def ask() -> None:
        with associations.lent(QUERY) as (association, _):
            association.abort()
            association.send_c_echo()

    with pytest.raises(NodeUnreachable):
        ask()
    associations.close()


def test_an_archive_that_takes_nothing_in_holds_nobody_up(fake: Fake, client: httpx.Client) -> None:
    large = deepcopy(IMAGES[0])
    large.PixelData = bytes(32 * 1024 * 1024)
    fake.stuck = True
    began = time.monotonic()
    with pytest.raises(StoreRefused):
        store(str(client.base_url).rstrip("/"), [large])
    assert time.monotonic() - began < 8
    fake.stuck = False
    assert client.get("/studies").status_code == 200


def test_a_file_that_says_to_be_another_instance_is_not_sent(client: httpx.Client) -> None:
    with BytesIO() as file:
        IMAGES[0].save_as(file, enforce_file_format=True)
        uid = str(UTF8.SOPInstanceUID)
        other = uid[:-1] + str((int(uid[-1]) + 1) % 10)
        told = file.getvalue().replace(uid.encode(), other.encode(), 1)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + told + b"\r\n--b--\r\n"
    media = 'multipart/related; type="application/dicom"; boundary=b'
    answer = client.post("/studies", content=body, headers={"Content-Type": media})
    (failed,) = answer.json()["00081198"]["Value"]
    assert (answer.status_code, failed["00081197"]["Value"]) == (409, [0xA900])


def test_who_waits_too_long_for_a_turn_is_told(fake: Fake) -> None:
    fake.does["get"] = sending(IMAGES[0], each=lambda _: fake.over.wait(10))
    with bridged(fake.port, associations=1) as client:
        first = threading.Thread(target=client.get, args=[STUDY])
        first.start()
        time.sleep(0.2)
        assert client.get(STUDY).status_code == 503
        first.join()


def test_a_query_that_is_never_answered_is_late(fake: Fake, client: httpx.Client) -> None:
    def hang(_: evt.Event) -> Iterator[Any]:
        fake.over.wait(10)
        yield 0xFF00, match()

    fake.does["find"] = hang
    assert told(client) == (504, "the archive did not answer in time")


def test_a_query_that_fails_midway_is_no_shorter_list(fake: Fake, client: httpx.Client) -> None:
    def break_off(_: evt.Event) -> Iterator[Any]:
        yield 0xFF00, match()
        yield 0xC001, None

    fake.does["find"] = break_off
    assert told(client) == (502, "the archive ended a query with DIMSE status 0xC001")


def test_a_key_that_the_archive_passes_over_is_matched_here(fake: Fake, client: httpx.Client) -> None:
    def everybody(_: evt.Event) -> Iterator[Any]:
        yield 0xFF00, match(PatientID="A")
        yield 0xFF00, match(PatientID="B", StudyInstanceUID="1.2.3")

    fake.does["find"] = everybody
    found = client.get("/studies", params={"PatientID": "A"}).json()
    assert [entry["00100020"]["Value"] for entry in found] == [["A"]]


def test_more_matches_than_are_read_are_told(fake: Fake, client: httpx.Client) -> None:
    def endless(_: evt.Event) -> Iterator[Any]:
        for number in range(100_000):
            yield 0xFF00, match(StudyInstanceUID=f"1.2.{number}")

    fake.does["find"] = endless
    fake.cancelled.clear()
    answer = client.get("/studies")
    assert (len(answer.json()), "more matches" in answer.headers["Warning"]) == (10, True)
    assert fake.cancelled.wait(5)


@pytest.mark.parametrize("charset", ["GB18030", "ISO_IR 192"])
def test_a_name_without_a_charset_is_read(fake: Fake, client: httpx.Client, charset: str) -> None:
    def unnamed(_: evt.Event) -> Iterator[Any]:
        named = Dataset()
        named.SpecificCharacterSet = charset
        named.PatientName = "示例^患者"
        raw = encode(named, True, True) or b""
        value = raw[raw.index(b"\x10\x00\x10\x00") + 8 :]
        found = match()
        found.add_new(0x00100010, "UN", value)
        yield 0xFF00, found

    fake.does["find"] = unnamed
    found = client.get("/studies").json()
    assert found[0]["00100010"]["Value"] == [{"Alphabetic": "示例^患者"}]


def test_a_retrieval_that_fails_midway_never_looks_whole(fake: Fake, client: httpx.Client) -> None:
    fake.does["get"] = sending(IMAGES[0], 0xC001)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(STUDY)


def test_a_retrieval_that_hangs_midway_is_cut_off(fake: Fake, client: httpx.Client) -> None:
    sent = list[object]()

    def hang(event: evt.Event) -> None:
        if sent:
            fake.over.wait(10)
        sent.append(event)

    fake.does["get"] = sending(*IMAGES, each=hang)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(STUDY)


def test_a_retrieval_that_fails_at_once_is_told(fake: Fake, client: httpx.Client) -> None:
    fake.does["get"] = sending(0xA702)
    assert told(client, STUDY) == (502, "the archive ended a retrieval with DIMSE status 0xA702")


def test_an_instance_of_another_study_is_refused(fake: Fake, client: httpx.Client) -> None:
    other = deepcopy(IMAGES[0])
    other.StudyInstanceUID = "1.2.3"
    fake.does["get"] = sending(other, IMAGES[1])
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(STUDY)


def test_an_instance_of_another_patient_is_refused(fake: Fake, client: httpx.Client) -> None:
    other = deepcopy(IMAGES[1])
    other.PatientID = "ANOTHER"
    fake.does["get"] = sending(IMAGES[0], other)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(STUDY)


def test_a_move_is_cancelled_when_its_caller_goes(fake: Fake, mover: httpx.Client, move_port: int) -> None:
    images = [*IMAGES, *STUDIES["gb18030"] * 100]
    fake.does["move"] = sending(*images, to=move_port, each=lambda _: time.sleep(0.05))
    fake.cancelled.clear()
    with mover.stream("GET", STUDY) as answer:
        assert next(answer.iter_bytes())
    assert fake.cancelled.wait(5)


def test_two_retrievals_of_one_study_at_a_time_are_both_whole(
    fake: Fake, mover: httpx.Client, move_port: int
) -> None:
    def move(event: evt.Event) -> Iterator[Any]:
        images = deepcopy(IMAGES)  # pydicom writes a dataset for one thread at a time
        yield from sending(*images, to=move_port, each=lambda _: time.sleep(0.05))(event)

    fake.does["move"] = move
    answers = list[httpx.Response]()
    threads = [threading.Thread(target=lambda: answers.append(mover.get(STUDY))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(datasets(answer)) for answer in answers] == [3, 3]


def test_an_instance_for_an_unnamed_move_goes_to_all_who_want_it(
    fake: Fake, mover: httpx.Client, move_port: int
) -> None:
    def move(_: evt.Event) -> Iterator[Any]:
        fake.over.wait(10)
        yield LOOPBACK, move_port, {"contexts": [build_context(UTF8.SOPClassUID)]}
        yield 0

    fake.does["move"] = move
    answers = list[httpx.Response]()
    threads = [threading.Thread(target=lambda: answers.append(mover.get(STUDY))) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with stranger(move_port) as association:
        assert [association.send_c_store(image).Status for image in IMAGES] == [0, 0, 0]
    fake.over.set()
    for thread in threads:
        thread.join()
    assert [len(datasets(answer)) for answer in answers] == [3, 3]


@contextmanager
def stranger(port: int) -> Iterator[Association]:
    """Somebody who sends to the bridge."""
    ae = AE(ae_title="STRANGER")
    ae.add_requested_context(UTF8.SOPClassUID)
    association = ae.associate(LOOPBACK, port, ae_title="LIANREN")
    yield association
    association.release()


@pytest.mark.usefixtures("mover")
def test_instances_that_nobody_asked_for_are_refused(move_port: int) -> None:
    with stranger(move_port) as association:
        assert association.send_c_store(IMAGES[0]).Status == 0xA900


@pytest.mark.usefixtures("mover")
def test_nothing_is_left_of_an_instance_that_does_not_come_whole(move_port: int) -> None:
    before = spooled()
    sent = C_STORE()
    sent.MessageID, sent.Priority, sent.AffectedSOPClassUID = 1, 2, UTF8.SOPClassUID
    sent.AffectedSOPInstanceUID, sent.DataSet = UTF8.SOPInstanceUID, BytesIO(bytes(100_000))
    message = C_STORE_RQ()
    message.primitive_to_message(sent)
    with stranger(move_port) as association:
        *most, _ = message.encode_msg(1, 16_384)
        for piece in most:
            association.dul.send_pdu(piece)
        assert waited(lambda: spooled() - before)
        association.abort()
    assert waited(lambda: not spooled() - before)


def spooled() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("*.dcm"))


def waited(what: Callable[[], object]) -> bool:
    end = time.monotonic() + 5
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(what())
