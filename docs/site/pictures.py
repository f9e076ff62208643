"""Make the pictures of the pages anew: ``python docs/site/pictures.py [WORD ...]``.

The commands stand on the pages, in their blocks of ``bash``: those that name a file below
``pictures/`` are run, all of them or those with one of the words. They are seeded.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return all commands on the pages that make a picture."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = block.replace("\\\n", " ").splitlines()
            found += [shlex.split(line) for line in lines if " pictures/" in line]
    return found


def main(wanted: list[str]) -> None:
    """Run the commands, and say so."""
    for command in commands():
        if not wanted or any(word in shlex.join(command) for word in wanted):
            print(shlex.join(command))
            program, *arguments = command
            assert program == "backofflock", command
            subprocess.run(
                [sys.executable, "-m", "backofflock", *arguments],
                cwd=DOCS,
                stdout=subprocess.DEVNULL,
                check=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
