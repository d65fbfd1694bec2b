"""Draw docs/demo.svg: the end of what `folkmoot demo` really prints with the offline model.

Run: .venv/bin/python docs/make_pictures.py
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from letta_client import Letta
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from folkmoot import demo

PICTURE = Path(__file__).parent / "demo.svg"
WIDTH = 96
SHOWN_FROM = "you → agent2"

FORMAT = re.sub(r"@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
)
"""Rich's picture of a terminal, with the reader's own font instead of one from a server."""


def recording() -> Console:
    """Return a console that shows nothing and keeps everything, colours included."""
    return Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor", highlight=False)


def run_demo() -> str:
    """Return everything the demo prints."""
    demo.console = recording()
    with TemporaryDirectory(prefix="folkmoot-picture-") as folder, demo.running_server(Path(folder)) as address:
        client = Letta(base_url=address, api_key="not-needed", max_retries=0)
        code = demo.tutorial(client, demo.OFFLINE_MODEL)
    output = demo.console.export_text(styles=True)
    if code:
        sys.exit(f"The demo failed:\n{output}")
    return output


def last_part(output: str) -> str:
    """Return the output from the second agent's question on."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if SHOWN_FROM in Text.from_ansi(line).plain)
    return "\n".join(lines[start:])


def main() -> None:
    """Write the picture."""
    console = recording()
    console.print(Text.from_ansi("$ folkmoot demo\n…\n" + last_part(run_demo())))
    console.save_svg(str(PICTURE), title="folkmoot demo", unique_id="folkmoot-demo", code_format=FORMAT)


if __name__ == "__main__":
    main()
