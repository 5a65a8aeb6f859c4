"""Arguments that Snakemake itself refuses with a traceback, before it reads any workflow: said in one line instead.

Snakemake imports every logger plugin before it looks at its arguments, which is why this is here.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

# Snakemake has this pattern (snakemake.cli.parse_config).
_NAME = re.compile(r"[a-zA-Z_][\w-]*\w$")


def mistake(arguments: Sequence[str]) -> str | None:
    """The first mistake in --configfile and --config; None where Snakemake can go on."""
    for path in _values(arguments, ("--configfile", "--configfiles")):
        try:
            Path(path).read_text(encoding="utf-8")
        except OSError as error:
            return f"--configfile: {path}: {error.strerror}; name a readable YAML file"
        except ValueError:
            return f"--configfile: {path}: not UTF-8 text; name a readable YAML file"
    for entry in _values(arguments, ("--config", "-C")):
        name, equals, _ = entry.partition("=")
        if not equals:
            return f"--config: {entry}: write NAME=VALUE"
        if not _NAME.match(name):
            return f"--config: {entry}: a key of the top alone, as in search={{name: mine}}"
    return None


def refuse_mistakes() -> None:
    """Ends Snakemake with a line where its arguments have a mistake; whoever else imports this is left alone."""
    if "snakemake" in (Path(sys.argv[0]).name, Path(sys.argv[0]).parent.name):
        told = mistake(sys.argv[1:])
        if told is not None:
            print(f"error: {told}", file=sys.stderr)
            raise SystemExit(2)


def _values(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words after an option of many values, up to the next option; the last one counts of two equal options."""
    found: list[str] = []
    takes = False
    for word in arguments:
        option, equals, value = word.partition("=")
        if word.startswith("-"):
            takes = option in options
            if takes:
                found = [value] if equals else []
        elif takes:
            found.append(word)
    return found
