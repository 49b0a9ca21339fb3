"""Draws a terminal's screen as SVG, and makes a screenshot small. scripts/pictures calls it.

pictures.py SCREEN COLUMNS SVG SCREENSHOT PNG
SCREEN is text with the terminal's own codes of colours, as `tmux capture-pane -e` gives it.
"""

import io
import pathlib
import re
import sys

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

SHOWN = re.compile(r" => \[[^]]+\] (install|create|import) ")
LIMIT = 150_000  # bytes of each picture: a page with them has to load on slow lines


def shortened(lines: list[str]) -> list[str]:
    """The lines, with "…" for those of the build's progress that do not install, create or import."""
    out: list[str] = []
    for line in lines:
        plain = Text.from_ansi(line).plain
        if plain.startswith(" =>") and not SHOWN.match(plain):
            line = "\x1b[2m …\x1b[0m"
            if out[-1] == line:
                continue
        out.append(line)
    return out


def draw(screen: str, columns: int) -> str:
    """The screen as SVG, without its last prompt and without fonts from elsewhere."""
    lines = shortened(screen.rstrip().removesuffix("$").rstrip().split("\n"))
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    assert "http" not in re.sub(r"http://www\.w3\.org|https://www\.textualize\.io", "", form), "a font from elsewhere"
    return console.export_svg(title="raybuild", code_format=form, unique_id="raybuild")


def main() -> None:
    screen, columns, svg, shot, png = sys.argv[1:]
    pathlib.Path(svg).write_text(draw(pathlib.Path(screen).read_text(), int(columns)))
    Image.open(shot).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(png, optimize=True)
    for file in (svg, png):
        size = pathlib.Path(file).stat().st_size
        if size > LIMIT:
            sys.exit(f"{file} has {size} bytes, and {LIMIT} at most are wanted")


main()
