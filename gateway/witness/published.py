"""What this gateway's ledger published, kept outside its database, and whether the database continues it.

A database that was restored from a backup agrees with itself; what was published does not come back with it.
The newest checkpoint is kept in a file of ``data_dir``, renewed with every round to the witnesses: what was
published after the last round before a crash is known to nobody but those who fetched it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters import Sequencer, StoreError
from adapters.store import Head, Store
from security import note
from security.errors import LedgerRefused
from security.keys import PublicKey
from security.note import NoteVerifier, checkpoint_of
from security.tree import verify_consistency

FILE = "published-checkpoint"
_ADVICE = "restore the newest copy of the database, or begin a new ledger under another owner"


class Published:
    """The newest published checkpoint of the ledger ``origin``, whose keys ``keys`` lists."""

    def __init__(
        self, origin: str, keys: Callable[[], Sequence[PublicKey]], store: Store, data_dir: Path
    ) -> None:
        self._origin = origin
        self._keys = keys
        self._file = data_dir / FILE
        self._reader = Sequencer(store, (), origin)

    async def read(self) -> str:
        """The note that was published last, as the file says; empty when there is none.

        Raises:
            StoreError: the file is there, and is none of this ledger's.
        """
        try:
            text = await asyncio.to_thread(self._file.read_text, encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError):
            raise StoreError(f"{self._file} cannot be read; it says which checkpoint was published") from None
        try:
            self.verify(text)
        except LedgerRefused as wrong:
            raise StoreError(f"{self._file} holds no checkpoint of this ledger: {wrong}") from None
        return text

    async def remember(self, signed: str) -> None:
        """Keep a note in place of an older one, durably.

        Raises:
            StoreError: see :meth:`read`; or the file cannot be written.
        """
        known = await self.read()
        if known and checkpoint_of(known).size >= checkpoint_of(signed).size:
            return
        try:
            await asyncio.to_thread(self._write, signed)
        except OSError as wrong:
            raise StoreError(f"{self._file} cannot be written ({wrong.strerror})") from None

    def verify(self, text: str) -> None:
        """Whether any key that ever signed this ledger's checkpoints signed a note; a thief's stops nothing.

        Raises:
            LedgerRefused: it is none of this ledger's.
        """
        verifiers = [
            NoteVerifier.of(self._origin, key)
            for key in self._keys()
            if key.purpose == "log" and key.status != "compromised"
        ]
        note.verify_checkpoint(text, verifiers)

    async def contradiction(self, known: str, head: Head) -> str:
        """Why the database does not continue a note of this ledger; empty when it does.

        Raises:
            StoreError: the database cannot be read.
        """
        then = checkpoint_of(known)
        if then.size > head.size:
            return (
                f"the database holds {head.size} entries, but {then.size} were published: it came back from a"
                f" backup; {_ADVICE}"
            )
        try:
            proof = await self._reader.consistency(then.size, head.size)
            verify_consistency(then.size, head.size, proof, then.root, head.root, self._reader.hash_name)
        except LedgerRefused:
            return f"the first {then.size} entries are not those that were published; {_ADVICE}"
        return ""

    def _write(self, text: str) -> None:
        # replicas in containers may share the folder, and the process id
        descriptor, new = tempfile.mkstemp(prefix=f"{FILE}.", dir=self._file.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(new, self._file)
        except OSError:
            os.unlink(new)
            raise
