"""Where a key in a crypto machine is: a PKCS#11 URI (RFC 7512), and `sdf:` of the same form for GM/T 0018.

    pkcs11:token=lianren;object=cq-mark?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin
    sdf:index=1?module-path=/usr/lib/libsdf.so&pin-source=file:/etc/pin

The PIN stands in a file of its own, never in the address: an address is shown in lists and kept in backups.
"""

from __future__ import annotations

import functools
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from msgspec import Struct

from security.errors import KeyStoreError

_PATH = {"pkcs11": {"token", "serial", "object", "id", "type"}, "sdf": {"index"}}
_QUERY = {"module-path", "pin-source"}


class Pin:
    """The PIN of a machine, in a file that is read anew each time, so that it can be changed.

    Machines lock after a few wrong PINs. One that was refused is not tried again until the file changes.
    """

    def __init__(self, file: Path | None) -> None:
        """Without a file the machine asks for no PIN."""
        self.file = file
        self._seen = self._refused = 0

    def read(self) -> str | None:
        """The PIN. Raises KeyStoreError when its file is open to all, or the machine refused it before."""
        if self.file is None:
            return None
        try:
            state = self.file.stat()
            pin = self.file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise KeyStoreError(f"{self.file}, the PIN of a crypto machine, cannot be read") from None
        if state.st_mode & 0o007:
            raise KeyStoreError(f"{self.file} is open to every user; run: chmod 0600 {self.file}")
        if not pin:
            raise KeyStoreError(f"{self.file}, the PIN of a crypto machine, is empty")
        self._seen = state.st_mtime_ns
        if self._seen == self._refused:
            raise KeyStoreError(f"{self.file}: this PIN was refused; it is tried again when the file changes")
        return pin

    def refuse(self) -> None:
        """Note that the machine refused the PIN that was read last."""
        self._refused = self._seen


_pin = functools.cache(Pin)  # all keys of a machine know of a refusal


class DeviceUri(Struct, frozen=True, kw_only=True):
    """A parsed address; `path` holds the attributes as written, its readers undo the percent-encoding."""

    scheme: str
    path: dict[str, str]
    module: str
    pin: Pin

    def text(self, attribute: str) -> str | None:
        """An attribute of the path as text, or None."""
        value = self.path.get(attribute)
        return None if value is None else unquote(value)

    def octets(self, attribute: str) -> bytes | None:
        """An attribute of the path as bytes, or None."""
        value = self.path.get(attribute)
        return None if value is None else unquote_to_bytes(value)


def parse(uri: str) -> DeviceUri:
    """Read an address. Raises KeyStoreError, which never repeats it: it might hold a PIN after all."""
    if not (uri.isascii() and uri.isprintable()):
        raise KeyStoreError("a device's address is plain ASCII; write other characters as %XX (RFC 3986)")
    scheme, _, rest = uri.partition(":")
    if scheme not in _PATH:
        raise KeyStoreError("a device's address begins with pkcs11: (RFC 7512) or sdf: (GM/T 0018)")
    path_text, _, query_text = rest.partition("?")
    path = _attributes(scheme, path_text.split(";"), _PATH[scheme])
    query = _attributes(scheme, query_text.split("&"), _QUERY)
    if "module-path" not in query:
        raise KeyStoreError(f"{scheme}: the address lacks ?module-path=, the machine's shared library")
    module, pin_source = unquote(query["module-path"]), unquote(query.get("pin-source", ""))
    if "\0" in module + pin_source:
        raise KeyStoreError(f"{scheme}: the name of a file holds %00")
    return DeviceUri(
        scheme=scheme,
        path=path,
        module=module,
        pin=_pin(Path(pin_source.removeprefix("file://").removeprefix("file:")) if pin_source else None),
    )


def _attributes(scheme: str, parts: list[str], known: set[str]) -> dict[str, str]:
    """Attributes by name; RFC 7512 §2.3: each once, and one that is not known may not be passed over."""
    found: dict[str, str] = {}
    for part in filter(None, parts):
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise KeyStoreError(f"{scheme}: write the PIN into a file and name it by pin-source=file:…")
        if name not in known or not equals or not value:
            names = ", ".join(sorted(known))
            raise KeyStoreError(f"{scheme}: the address may hold {names}, each with a value")
        if name in found:
            raise KeyStoreError(f"{scheme}: the address holds {name} twice")
        found[name] = value
    return found
