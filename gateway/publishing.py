"""How a published edition stands in the store: its files, a signed statement about them, a ledger entry.

The statement is canonical JSON (keys in order, no blanks) and says which files under which name take force
when. It is signed with every key of purpose ``catalogue`` and is the payload of a ledger entry of type
``catalogue``. The time in the statement counts; that in ``catalogue.toml`` is what the steward wished.

Editions form a chain: document ids are 00000001, 00000002, …, so whoever publishes must have seen everything
before, and a reader that goes on after the last id misses nothing. Editions with one ``published_at`` were
published together, in one commit, and count together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from adapters.store import Document, Store
from catalog import CatalogueError, Draft, Edition, Finding, read_files
from catalog.timeline import Published, name_of
from security.digests import HashName
from security.errors import TrustError
from security.keys import AwareDatetime, PublicKey, Signer, from_base64url, to_base64url, verifier
from security.ledger import Sealed, seal

KIND = "edition"
PURPOSE = "catalogue"
_DOMAIN = b"lianren catalogue edition v1\n"  # a signature made here means nothing anywhere else
_ENCODER = msgspec.json.Encoder(order="sorted")
_PAGE = 50


class Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. ``digest`` is that of the files (``Draft.digest``); ``supersedes`` the version that
    this one replaces when it takes force, empty for the first of its id."""

    id: str
    version: str
    digest: str
    effective_from: AwareDatetime
    published_at: AwareDatetime
    owner: str
    supersedes: str


class _Signature(Struct, frozen=True):
    kid: str
    signature: str


class _Kept(Struct, frozen=True):
    """The document: the statement as it was signed, its signatures, its ledger entry, the files."""

    statement: str
    signatures: Annotated[tuple[_Signature, ...], Meta(min_length=1)]
    entry: str
    files: dict[str, bytes]


class Released(Struct, frozen=True):
    """A published edition, verified. ``edition`` takes force at the time of the statement."""

    edition: Edition
    digest: str
    published_at: datetime
    entry: str
    files: dict[str, bytes]

    @property
    def head(self) -> Published:
        """Its place in a timeline."""
        return Published(self.edition, self.digest)

    def draft(self) -> Draft:
        """Its tables, read again.

        Raises:
            CatalogueError: this version of the program does not read them any more.
        """
        return replace(read_files(self.files, f"{name_of(self.edition)}/"), edition=self.edition)


def release(
    drafts: Sequence[tuple[Draft, str]],
    *,
    after: str,
    now: datetime,
    gateway: str,
    hash_name: HashName,
    signers: Sequence[Signer],
) -> tuple[list[Sealed], list[Document]]:
    """The ledger entries and documents of editions that are published together, each with what it supersedes.

    Args:
        drafts: editions with the time at which they take force, and the version that each replaces.
        after: id of the last document of the chain, empty when there is none.
        now: the time of publishing (aware).
        gateway: owner id of the gateway that publishes.
        hash_name: the hash of the ledger's tree.
        signers: the keys of purpose ``catalogue``.
    """
    entries: list[Sealed] = []
    documents: list[Document] = []
    for number, (draft, supersedes) in enumerate(drafts, start=int(after or 0) + 1):
        edition = draft.edition
        statement = _ENCODER.encode(
            Statement(
                id=edition.id,
                version=edition.version,
                digest=draft.digest,
                effective_from=edition.effective_from,
                published_at=now,
                owner=edition.owner,
                supersedes=supersedes,
            )
        )
        scheme = f"{edition.id}/{edition.version}"
        sealed = seal(
            "catalogue", statement, time=now, from_=gateway, to=gateway, scheme=scheme, hash_name=hash_name
        )
        signatures = tuple(_Signature(s.kid, to_base64url(s.sign(_DOMAIN + statement))) for s in signers)
        kept = _Kept(statement.decode(), signatures, sealed.entry_id, draft.files)
        entries.append(sealed)
        documents.append(
            Document(
                kind=KIND,
                id=f"{number:08d}",
                key=name_of(edition),
                body=msgspec.json.encode(kept),
                at=now,
            )
        )
    return entries, documents


def read_released(document: Document, keys: Sequence[PublicKey], owner: str) -> Released:
    """A published edition, if its signatures, digest and name hold.

    Args:
        keys: the public keys of this gateway, retired ones too.
        owner: the owner whose keys count.

    Raises:
        CatalogueError: it is not what was published; the finding says which step failed.
    """
    try:
        kept = msgspec.json.decode(document.body, type=_Kept)
        statement = msgspec.json.decode(kept.statement, type=Statement)
    except (msgspec.MsgspecError, UnicodeError) as wrong:
        raise _refused(document, "", f"is no published edition: {wrong}") from None
    known = {key.kid: key for key in keys if key.owner == owner}
    for signature in kept.signatures:
        try:
            if (key := known.get(signature.kid)) is None:
                raise _refused(document, "signature", f"{signature.kid} is no key of {owner}")
            key.check(statement.published_at, PURPOSE)
            verifier(key).verify(_DOMAIN + kept.statement.encode(), from_base64url(signature.signature))
        except (TrustError, ValueError) as wrong:
            raise _refused(document, "signature", str(wrong)) from None
    draft = read_files(kept.files, f"{document.key}/")
    if draft.digest != statement.digest:
        raise _refused(document, "digest", "the files are not those that were published")
    edition = replace(draft.edition, effective_from=statement.effective_from)
    if (edition.id, edition.version, name_of(edition)) != (statement.id, statement.version, document.key):
        raise _refused(document, "id", f"the files are those of {name_of(edition)}")
    return Released(edition, statement.digest, statement.published_at, kept.entry, kept.files)


async def editions_after(store: Store, after: str) -> list[Document]:
    """The documents of the chain after this id, in its order.

    Raises:
        StoreUnavailable: they cannot be read.
    """
    found: list[Document] = []
    while page := await store.documents(KIND, found[-1].id if found else after, _PAGE):
        found += page
        if len(page) < _PAGE:
            break
    return found


def together(documents: Sequence[Document]) -> list[list[Document]]:
    """The documents in the groups in which they were published."""
    groups: list[list[Document]] = []
    for document in documents:
        if groups and groups[-1][-1].at == document.at:
            groups[-1].append(document)
        else:
            groups.append([document])
    return groups


def _refused(document: Document, column: str, message: str) -> CatalogueError:
    return CatalogueError((Finding(document.key or document.id, 0, column, message),))
