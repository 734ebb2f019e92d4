"""``check``: ask a running gateway, from a shell."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.common import AsJson, Stop, console, print_json, read_file


def check(
    names: Annotated[list[str], typer.Argument(help="What is planned: the hospital's own names.")],
    patient: Annotated[Path, typer.Option(help="File with the person's number; - for standard input.")],
    gateway: Annotated[str, typer.Option(help="Base address of the gateway.")] = "http://127.0.0.1:8080",
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token.")] = None,
    type_: Annotated[str, typer.Option("--type", help="Type of the person's number.")] = "resident-id",
    modality: Annotated[str, typer.Option(help="Modality, where the names do not say it.")] = "",
    specimen: Annotated[str, typer.Option(help="Specimen, where the names do not say it.")] = "",
    break_glass: Annotated[
        str, typer.Option(help="Reason to go on although the patient refused; it is recorded and shown.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ask whether an earlier result may serve.

    Exit status 0: nothing to order. 1: something is left to order, or a name is not known. Standard error
    says when not every node was heard: then more may be on record than the answer knows.

    The person's number is read from a file, so that it does not end in the shell's history.
    """
    from gateway.asking import Refused, ask
    from gateway.demo.show import print_answer, unheard

    body: dict[str, object] = {
        "request_id": uuid.uuid4().hex,
        "patient": {"type": type_, "value": read_file(patient).decode().strip()},
        "planned": [{"name": name, "modality": modality, "specimen": specimen} for name in names],
    }
    if break_glass:
        body["break_glass"] = {"reason": break_glass}
    token = read_file(token_file).decode().strip() if token_file else ""
    try:
        answer = ask(gateway, token, body)
    except Refused as refused:
        raise Stop(f"lianren: {refused}") from None
    if as_json:
        print_json(answer)
    else:
        print_answer(console(), answer)
    if not answer.complete:
        missing = unheard(answer)
        typer.echo(f"lianren: 查询不完整：{missing} 未应答 / incomplete, not heard: {missing}", err=True)
    raise typer.Exit(1 if answer.unnamed or any(advice.to_order for advice in answer.advice) else 0)
