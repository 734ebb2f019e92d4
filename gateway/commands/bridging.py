"""``bridge``: a DICOMweb server in front of an archive that speaks only DIMSE."""

from __future__ import annotations

import importlib.util
import logging
import ssl
import warnings
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.common import Stop, plainly, read_file
from gateway.commands.running import run_server, try_port

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def bridge(
    archive: Annotated[str, typer.Option(metavar="AETITLE@HOST:PORT", help="The archive.")],
    title: Annotated[str, typer.Option(help="AE title of the bridge, as the archive knows it.")] = "LIANREN",
    move_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port that takes what a C-MOVE sends; 0: C-GET instead.")
    ] = 0,
    charset: Annotated[
        str, typer.Option(help="Specific Character Set of answers that name none, such as GB18030.")
    ] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8091,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that callers send; needed but on loopback.")
    ] = None,
    associations: Annotated[
        int, typer.Option(min=1, max=64, help="Retrievals at one time, and as many queries.")
    ] = 4,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Authorities of the archive's certificate: speak TLS.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate of the bridge, for TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
) -> None:
    """Run a DICOMweb server in front of an archive that speaks only DIMSE."""
    if not importlib.util.find_spec("pynetdicom"):
        raise Stop("lianren: bridge needs pynetdicom: pip install 'lianren[dimse]'")
    token = read_file(token_file).decode("latin-1").strip() if token_file else ""
    if token_file and not (token and token.isascii()):
        raise Stop(f"lianren: {token_file} holds no token: one line of ASCII")
    if host not in LOOPBACK and not token:
        raise Stop(f"lianren: {host} is not loopback; name a file with a token: --token-file")
    _quiet()
    if move_port:
        try_port("", move_port)
    from uvicorn import Server

    from gateway.bridge import Archive, archive_of, create_bridge, title_of
    from gateway.log import LibraryLog, Log
    from gateway.serving import config_of

    log = Log()
    logging.getLogger().addHandler(LibraryLog(log))
    with plainly():
        called, where, at = archive_of(archive)
        app = create_bridge(
            Archive(
                title=called,
                host=where,
                port=at,
                own_title=title_of(title),
                move_port=move_port,
                charset=charset,
                associations=associations,
                tls=_tls(tls_ca, tls_cert, tls_key),
            ),
            log,
            token,
        )
    run_server(Server(config_of(app, host, port)), host, port)


def _quiet() -> None:
    """Let pydicom read what machines write, and repeat nothing of it: it is of persons."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")


def _tls(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if authorities is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(authorities))
        if certificate:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as wrong:
        raise Stop(f"lianren: the certificates for TLS cannot be used: {wrong}") from None
    return context
