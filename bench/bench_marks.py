"""Marks: sign and verify per algorithm, beside ``openssl speed`` of the same run.

The baseline is what the system's OpenSSL does with the bare signature in the same seconds, on one core. Above
it a mark costs its deterministic CBOR, the key's record and its claims, which are the same for all
algorithms: ``mark alone`` is that, the time of a mark less that of its own signature. Further: a mark with
its ledger proof, the status list, the detached JWS over a FHIR resource, and the label to print.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta

from bench.machine import cpu_us, heading
from gateway.marks.printing import label
from security import jws, mark, note, status, tlog_proof
from security.keys import Algorithm, KeyPair, verifier
from security.ledger import seal
from security.note import Checkpoint
from security.status import Withdrawn
from security.tlog_proof import Proof
from security.tree import Tree, inclusion_proof
from security.trust import TrustList
from tests.security.material import CLAIMS, LOG_KEY, NOW, key_list, new_key
from tests.security.test_jws import GLUCOSE

DAY = timedelta(days=1)
SPEED: dict[Algorithm, str] = {"Ed25519": "ed25519", "ES256": "ecdsap256", "SM2": "sm2"}
ENTRIES = 100_000
_LINE = re.compile(r"^.*?\(?(?:Ed25519|nistp256|CurveSM2)\)?\s+\S+\s+\S+\s+(\S+)\s+(\S+)\s*$", re.M)


def main() -> None:
    """Measure and print."""
    heading("Marks", "python -m bench.bench_marks")
    for algorithm in SPEED:
        _algorithm(algorithm)
    _proof()
    for count in (1, 1_000, 100_000):
        _status(count)
    _fhir()


def _algorithm(algorithm: Algorithm) -> None:
    key = new_key(algorithm)
    trust = _trusting(key)
    data = mark.issue(CLAIMS, key)
    message = mark.read(data).message
    bare = verifier(key.public)
    took = {
        "sign": (cpu_us(lambda: mark.issue(CLAIMS, key)), cpu_us(lambda: key.sign(message.signed))),
        "verify": (
            cpu_us(lambda: mark.verify(data, trust=trust, now=NOW)),
            cpu_us(lambda: bare.verify(message.signed, message.signature)),
        ),
    }
    speed = dict(zip(took, _openssl(algorithm), strict=False))
    print(f"  {algorithm}, a mark of {len(data)} bytes")
    for what, (whole, signature) in took.items():
        beside = (
            f", {whole / speed[what]:.2f} × openssl speed ({speed[what]:.1f} µs)" if what in speed else ""
        )
        print(
            f"    {what:7} {whole:7.1f} µs CPU{beside};"
            f" its signature {signature:.1f} µs, mark alone {whole - signature:.1f} µs"
        )


def _openssl(algorithm: Algorithm) -> tuple[float, ...]:
    """Microseconds to sign and to verify by ``openssl speed``; nothing where there is none, or no SM2."""
    program = shutil.which("openssl")
    if program is None:
        return ()
    done = subprocess.run(
        [program, "speed", "-seconds", "1", SPEED[algorithm]], capture_output=True, text=True, check=False
    )
    found = _LINE.search(done.stdout)
    return tuple(1e6 / float(rate) for rate in found.groups()) if found else ()


def _proof() -> None:
    key = new_key("Ed25519")
    data = mark.issue(CLAIMS, key)
    entry = seal("mark", data, time=NOW, from_="cq", to="cq", mark=CLAIMS.mark_id.hex(), hash_name="sha256")
    leaves = [number.to_bytes(32) for number in range(ENTRIES)]
    leaves[ENTRIES // 3] = entry.leaf
    tree = Tree(leaves, "sha256")
    origin = "cq.lianren.example/exchange"
    text = Proof(
        index=ENTRIES // 3,
        hashes=tuple(inclusion_proof(ENTRIES // 3, ENTRIES, tree.hash_at, "sha256")),
        checkpoint=note.sign(Checkpoint(origin, ENTRIES, tree.root()).to_text(), origin, [LOG_KEY]),
        entry=entry.body,
        salt=entry.salt,
    ).to_text()
    trust = _trusting(key, LOG_KEY)
    with_proof = cpu_us(lambda: mark.verify(data, trust=trust, now=NOW, proof=text))
    without = cpu_us(lambda: mark.verify(data, trust=trust, now=NOW))
    print(
        f"  a mark with its proof in a ledger of {ENTRIES:,} entries ({len(text)} bytes):"
        f" verify {with_proof:.1f} µs CPU, {with_proof / without:.2f} × without ({tlog_proof.HEADER})"
    )


def _status(count: int) -> None:
    key = new_key("Ed25519")
    withdrawn = [Withdrawn(number.to_bytes(16), "amended", NOW) for number in range(1, count + 1)]

    def make() -> bytes:
        return status.issue(withdrawn, key, number=count, issued=NOW, fresh=DAY)

    data, trust = make(), _trusting(key)
    held = status.verify(data, trust=trust, now=NOW)
    wanted = (count // 2 + 1).to_bytes(16)
    number = 3 if count > 10_000 else 50
    took: dict[str, Callable[[], object]] = {
        "sign": make,
        "verify": lambda: status.verify(data, trust=trust, now=NOW),
        "find": lambda: held.find(wanted),
    }
    times = ", ".join(f"{name} {cpu_us(call, number=number):,.1f}" for name, call in took.items())
    print(f"  status list of {count:>7,} withdrawals: {len(data):>9,} bytes; µs CPU: {times}")


def _fhir() -> None:
    key = new_key("Ed25519")
    token, held = jws.sign(GLUCOSE, key), mark.read(mark.issue(CLAIMS, key))
    canonical = cpu_us(lambda: jws.canonical(GLUCOSE))
    signing = cpu_us(lambda: jws.sign(jws.canonical(GLUCOSE), key))
    verifying = cpu_us(lambda: jws.verify(token, jws.canonical(GLUCOSE), key.public))
    print(
        f"  detached JWS over an Observation of {len(GLUCOSE)} bytes: canonical form {canonical:.1f},"
        f" with signature {signing:.1f}, verify {verifying:.1f} µs CPU"
    )
    print(f"  the label to print: {cpu_us(lambda: label(held), number=2) / 1000:.1f} ms CPU")


def _trusting(*keys: KeyPair) -> TrustList:
    return TrustList([], [key_list(*keys)])


if __name__ == "__main__":
    main()
