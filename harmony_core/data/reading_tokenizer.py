"""Reads a tokenizer.json of unknown origin: in a process of its own first, which has little time and memory for it."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys

from harmony_core.data.encoding import shown
from harmony_core.data.own_tokenizer import OwnTokenizer
from harmony_core.errors import UserError

FIELD = "data.tokenizer_file"
# The largest that are published have about 35 MB.
MAX_BYTES = 2**26
_SECONDS = 60
_MEMORY_BYTES = 4 * 2**30
# Words on which patterns are known to be slow, where what follows makes them try again, and bytes of every kind.
_REPEATED = tuple(f"{one * 2**14}{after}" for one in ("a", " ", "1", "\n", "a'b \n") for after in ("", "!", "b"))
_PROBES = (*_REPEATED, "".join(map(chr, range(0x250))) + "東京 🙂 e\u0301")


def read_own(path: str, separator: str) -> OwnTokenizer:
    """A person's own tokenizer.

    Args:
        path: its tokenizer.json; `~` is the home folder.
        separator: the special token that stands before each document.

    Raises:
        UserError: it cannot be read, is too large, is none or not a byte-level BPE that keeps text, has no such special
            token, or takes too much time or memory.
    """
    content = read_content(path)
    if said := _refusal(content, separator):
        raise UserError(FIELD, shown(path), said)
    return OwnTokenizer(content.decode(), separator)


def read_content(path: str) -> bytes:
    """The file, of bounded size; arguments and errors as for `read_own`."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(FIELD, shown(path), "not a regular file; name a tokenizer.json")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(FIELD, shown(path), f"{error.strerror}; name a tokenizer.json that can be read") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(FIELD, shown(path), f"no name of a file ({error}); correct it") from None
    if len(content) > MAX_BYTES:
        raise UserError(FIELD, shown(path), f"larger than {MAX_BYTES >> 20} MiB; name a tokenizer.json")
    return content


def _refusal(content: bytes, separator: str) -> str | None:
    """What a process with limits says against it; None is nothing."""
    command = [sys.executable, "-P", "-m", __name__, separator, str(_SECONDS), str(_MEMORY_BYTES)]
    # Threads of libraries would each reserve memory, and count for the limit.
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    environment = {**os.environ, **one_thread, "TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0"}
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=2 * _SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"it was not read in {2 * _SECONDS} s; use another tokenizer"
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        limits = f"{_SECONDS} s and {_MEMORY_BYTES >> 20} MiB"
        return (
            f"the process that reads it ended with code {done.returncode}, of at most {limits}; use another tokenizer"
        )
    return None if answer is None else str(answer)


def _main(separator: str, seconds: str, memory: str) -> None:
    """In the process with limits: prints as JSON what is wrong with the tokenizer on standard input, or null."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    said = None
    try:
        tokenizer = OwnTokenizer(sys.stdin.buffer.read().decode(), separator)
        for probe in _PROBES:
            tokenizer.encode(probe.encode())
    except UserError as error:
        said = f"{error.value}; {error.fix}"
    except UnicodeDecodeError:
        said = "not UTF-8 text; name a tokenizer.json"
    except ValueError as error:
        said = str(error)
    except MemoryError:
        said = f"it takes more memory than {int(memory) >> 20} MiB; use another tokenizer"
    print(json.dumps(said))


if __name__ == "__main__":
    _main(*sys.argv[1:])
