"""A mark as a picture to print on a report: the QR code of its text, and beside it what it says.

The QR code has error level M, which a photocopy survives, and 0.4 mm a module with the quiet zone of
ISO/IEC 18004 (4 modules): about 31 mm square. The SVG is the whole label, in millimetres, 90 mm wide; its
words are real text in the fonts of the reader. The PNG is the QR code alone, to be placed into a report that
brings its own words.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from recognition import SHANGHAI
from security.mark import Mark

if TYPE_CHECKING:
    import segno

MODULE_MM = 0.4
QUIET = 4
WIDTH_MM = 90.0
PNG_SCALE = 5
"""Pixels a module; at the stated resolution of the file a module is 0.42 mm."""
PNG_DPI = 300
_GAP_MM, _LINE_MM = 2.0, 3.7
_LATIN_MM, _HAN_MM = 1.55, 3.0  # what a character takes at the size below
_SIZE_MM = 2.8


def label(mark: Mark, item: str = "", institution: str = "") -> bytes:
    """The label as SVG; ``item`` and ``institution`` are names to be printed before the codes."""
    code = _qr(mark)
    side = (code.symbol_size(border=0)[0] + 2 * QUIET) * MODULE_MM
    left = side + _GAP_MM
    lines = [line for text in _words(mark, item, institution) for line in _folded(text, WIDTH_MM - left)]
    height = max(side, (len(lines) + 1) * _LINE_MM)
    words = "".join(
        f'<text x="{left:.1f}" y="{(number + 1) * _LINE_MM:.1f}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_MM:g}mm" height="{height:.1f}mm"'
        f' viewBox="0 0 {WIDTH_MM:g} {height:.1f}"><title>{escape(mark.claims.printed)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<path transform="scale({MODULE_MM})" fill="#000" d="{_path(code)}"/>'
        f'<g font-family="sans-serif" font-size="{_SIZE_MM}" fill="#000">{words}</g></svg>\n'
    ).encode()


def picture(mark: Mark) -> bytes:
    """The QR code alone as PNG, which says its resolution."""
    out = io.BytesIO()
    _qr(mark).save(out, kind="png", scale=PNG_SCALE, border=QUIET, dpi=PNG_DPI)
    return out.getvalue()


def _qr(mark: Mark) -> segno.QRCode:
    import segno  # takes 30 ms, which a gateway that starts should not wait for

    return segno.make_qr(mark.text, error="m", boost_error=False)


def _path(code: segno.QRCode) -> str:
    """The dark modules as an SVG path in units of modules, one run of a row after the other."""
    runs = []
    for y, row in enumerate(code.matrix, QUIET):
        x = 0
        while x < len(row):
            end = x
            while end < len(row) and row[end]:
                end += 1
            if end > x:
                runs.append(f"M{x + QUIET} {y}h{end - x}v1h-{end - x}z")
            x = end + 1
    return "".join(runs)


def _words(mark: Mark, item: str, institution: str) -> list[str]:
    claims = mark.claims
    performed, until = (
        f"{time.astimezone(SHANGHAI):%Y-%m-%d}" for time in (claims.performed, claims.expires)
    )
    return [
        f"{claims.printed} 检查检验结果互认标识",
        f"项目 item {claims.item}",
        item,
        f"机构 institution {claims.institution}",
        institution,
        f"检查 performed {performed}",
        f"有效至 until {until}",
        "扫码核验 verify: lianren mark verify",
    ]


def _folded(text: str, width: float) -> list[str]:
    """The text in lines that fit, cut between characters as Chinese is."""
    lines, line, room = [], "", width
    for character in text:
        took = _LATIN_MM if character < "⺀" else _HAN_MM
        if took > room:
            lines.append(line)
            line, room = "", width
        line += character
        room -= took
    return [*lines, line] if line else lines
