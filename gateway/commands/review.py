"""``review``: the queue of names that no item was found for, and what stewards do with them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import quote

import typer

from gateway.commands.common import AsJson, Stop, console, plainly, print_json, read_file

if TYPE_CHECKING:
    from gateway.steward_values import MappingOut, NameOut, ProposalOut, RevocationOut
    from mapping import LocalName
    from mapping.proposals import Replay

T = TypeVar("T")
STATES = {"in_force": "已生效 in force", "waiting": "待第二人确认 waiting", "revoked": "已撤销 revoked"}

app = typer.Typer(
    name="review",
    help="Names that no item was found for: look, confirm what they mean, take it back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Base = Annotated[str, typer.Option("--gateway", help="Base address of the gateway.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with a steward's bearer token.")]
HERE = "http://127.0.0.1:8080"


@app.command("list")
def list_(
    gateway: Base = HERE,
    token_file: TokenFile = None,
    site: Annotated[str, typer.Option(help="Only this institution.")] = "",
    reason: Annotated[str, typer.Option(help="Only this reason, such as unknown or drift.")] = "",
    limit: Annotated[int, typer.Option(help="Groups of a page.")] = 50,
    after: Annotated[str, typer.Option(help="The next of the page before.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the queue by site, reason and unexplained token, those of the most messages first."""
    from gateway.steward_values import QueueOut

    query = {"site": site, "reason": reason, "limit": str(limit), "after": after}
    found = _get(gateway, "review", token_file, query, QueueOut)
    if as_json:
        print_json(found)
        return
    rows = [("编号 id", "次数 count", "医院 site", "原因 reason", "未识别 token", "名称 name")]
    for group in found.groups:
        for name in group.names:
            told = (group.site.code, group.reason, group.token or "–", _written(name))
            rows.append((name.id, str(name.count), *told))
        if group.members > len(group.names):
            rows.append(("", "", "", "", "", f"… 另 {group.members - len(group.names)} 个 more"))
    _print(rows)
    if found.next:
        console().print(f"下一页 next page: --after {found.next}", markup=False)


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of a name, as an answer or the list has it.")],
    gateway: Base = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a name as it is read now, and the items whose names are most like it."""
    from gateway.steward_values import EntryOut

    found = _get(gateway, f"review/{quote(id_, safe='')}", token_file, {}, EntryOut)
    if as_json:
        print_json(found)
        return
    out, name = console(), found.name
    out.print(f"{name.site.name} {name.site.code}  {_written(name)}  ×{name.count}", markup=False)
    for field, value in name.fields.items():
        out.print(f"  {field}: {value}", markup=False)
    out.print(f"  原因 reason: {found.reason}  未识别 token: {found.token or '–'}", markup=False)
    for start, end, slot in found.spans:
        out.print(f"  {name.name[start:end]}: {slot}", markup=False)
    if found.readings:
        out.print(f"  可能的读法 readings: {' / '.join(found.readings)}", markup=False)
    for said in name.confirmations:
        out.print(f"  {said.by} {said.at:%Y-%m-%d %H:%M}: {said.concept} {said.note}", markup=False)
    if found.mapping:
        out.print(f"  已确认 confirmed: {found.mapping}", markup=False)
    rows = [("项目 item", "名称 name", "概念 concept", "相似 likeness", "人数 persons", "须确认 decides")]
    for one in found.candidates:
        told = (one.concept, f"{one.likeness:.2f}", str(one.persons), " ".join(one.decides))
        rows.append((one.item.code, one.item.name, *told))
    _print(rows)


@app.command()
def confirm(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of a name.")],
    item: Annotated[str, typer.Option(help="Code of the item that it means.")] = "",
    concept: Annotated[str, typer.Option(help="Or the concept, such as CT|胸部|-|plain|-.")] = "",
    note: Annotated[str, typer.Option(help="How you know.")] = "",
    gateway: Base = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Confirm what a name means.

    Exit status 1: another person has to confirm the same before it is in force.
    """
    from gateway.steward_values import MappingOut

    body = {"item": item, "concept": concept, "note": note}
    path = f"review/{quote(id_, safe='')}/confirmations"
    mapping = _post(gateway, path, token_file, body, MappingOut)
    if as_json:
        print_json(mapping)
    else:
        _print_mapping(mapping)
    raise typer.Exit(1 if mapping.state == "waiting" else 0)


@app.command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of a confirmed mapping.")],
    reason: Annotated[str, typer.Option(help="Why it is taken back.")],
    gateway: Base = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a confirmed mapping back, and list the decisions that rested on it."""
    from gateway.steward_values import RevocationOut

    path = f"mappings/{quote(id_, safe='')}"
    found = _post(gateway, f"{path}/revocations", token_file, {"reason": reason}, RevocationOut)
    pages = [found]
    while pages[-1].next:
        query = {"after": pages[-1].next, "limit": "500"}
        pages.append(_get(gateway, f"{path}/decisions", token_file, query, RevocationOut))
    if as_json:
        print_json({"mapping": found.mapping, "decisions": [d for page in pages for d in page.decisions]})
        return
    _print_mapping(found.mapping)
    _print_decisions(pages)


@app.command()
def proposals(
    gateway: Base = HERE,
    token_file: TokenFile = None,
    names: Annotated[Path | None, typer.Option(help="Dev set: CSV with local_name and fields.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Never-merge pairs: CSV with name_a and name_b.")] = None,
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue folder for the replay here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the words that three sites have confirmed alike, with the row to add to the tables.

    The gateway replays all confirmed mappings; --names and --pairs are replayed here. Exit status 1: a
    proposal would change an answer.
    """
    from catalog import load
    from gateway.steward_values import ProposalsOut
    from mapping.proposals import replay_proposal
    from mapping.sites import SiteTable

    found = _get(gateway, "review/proposals", token_file, {}, ProposalsOut).proposals
    with plainly():
        held = load(catalogue)
    dev = [_local(row, "local_name") for row in _rows(names, "local_name")] if names else []
    never = (
        [(_local(row, "name_a"), _local(row, "name_b")) for row in _rows(pairs, "name_a")] if pairs else []
    )
    here = [replay_proposal(held, SiteTable(), one.proposal, dev, never) for one in found]
    if as_json:
        print_json(
            [
                {"proposal": one.proposal, "replay": one.replay, "here": own}
                for one, own in zip(found, here, strict=True)
            ]
        )
    else:
        for one, own in zip(found, here, strict=True):
            _print_proposal(one, own)
        console().print(f"{len(found)} 条建议 proposals", markup=False)
    raise typer.Exit(0 if all(o.admissible and h.admissible for o, h in zip(found, here, strict=True)) else 1)


def _print_mapping(mapping: MappingOut) -> None:
    out = console()
    meant = f"{mapping.item.name} {mapping.item.code}" if mapping.item else mapping.concept
    code = f" [{mapping.code}]" if mapping.code else ""
    out.print(
        f"{STATES[mapping.state]}: {mapping.site.name} {mapping.name}{code} = {meant}  {mapping.id}".rstrip(),
        markup=False,
    )
    confirmed = "、".join(said.by for said in mapping.confirmations)
    out.print(
        f"  {confirmed}（{len(mapping.confirmations)}/{mapping.persons}）  {mapping.table}", markup=False
    )
    if mapping.revoked:
        out.print(f"  {mapping.revoked.by}: {mapping.revoked.note}", markup=False)


def _print_decisions(pages: list[RevocationOut]) -> None:
    count = sum(len(page.decisions) for page in pages)
    console().print(f"曾以此为据的判定 decisions that rested on it: {count}", markup=False)
    for page in pages:
        for one in page.decisions:
            console().print(f"  {one.check}  {one.at:%Y-%m-%d %H:%M}  {one.asked_by}", markup=False)


def _print_proposal(one: ProposalOut, here: Replay) -> None:
    out, proposal = console(), one.proposal
    out.print(
        f"{proposal.token} = {proposal.slot} {proposal.value or '–'}  ({', '.join(proposal.sites)})",
        markup=False,
    )
    out.print(f"  {proposal.file}\n  - {proposal.replaces}\n  + {proposal.row}", markup=False)
    confirmed, names, pairs = one.replay.confirmed, here.names, here.pairs
    out.print(
        f"  重放 replayed: 已确认 confirmed {confirmed}，名称 names {names}，对 pairs {pairs}", markup=False
    )
    for change in (*one.replay.changed, *here.changed):
        told = f"{change.what} {change.name}: {change.before or '–'} → {change.after or '–'}"
        out.print(f"  会改变 would change {told}", markup=False)


def _written(name: NameOut) -> str:
    return f"{name.name} [{name.code}]" if name.code else name.name


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns of equal width, a Chinese character counting two."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        console().print("  ".join(cells).rstrip(), markup=False)


def _local(row: dict[str, str], column: str) -> LocalName:
    from mapping import LocalName

    fields = {name: row.get(name) or "" for name in LocalName.__struct_fields__ if name != "name"}
    return LocalName(name=row[column], **fields)


def _rows(file: Path, column: str) -> Iterator[dict[str, str]]:
    try:
        rows = csv.DictReader(read_file(file).decode("utf-8-sig").splitlines())
    except UnicodeDecodeError:
        raise Stop(f"lianren: {file} is not UTF-8") from None
    if column not in (rows.fieldnames or ()):
        raise Stop(f"lianren: the heading of {file} has no column {column}")
    yield from rows


def _token(file: Path | None) -> str:
    return read_file(file).decode().strip() if file else ""


def _get(gateway: str, path: str, token_file: Path | None, query: dict[str, str], kind: type[T]) -> T:
    from gateway.asking import Refused, get

    try:
        return get(f"{gateway.rstrip('/')}/api/v1/{path}", _token(token_file), query, kind)
    except Refused as refused:
        raise Stop(f"lianren: {refused}") from None


def _post(gateway: str, path: str, token_file: Path | None, body: dict[str, str], kind: type[T]) -> T:
    from gateway.asking import Refused, post

    try:
        return post(f"{gateway.rstrip('/')}/api/v1/{path}", _token(token_file), body, kind)
    except Refused as refused:
        raise Stop(f"lianren: {refused}") from None
