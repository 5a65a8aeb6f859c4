"""What may stand in SQL that people type: words of a question, and functions of values, by name.

Polars' SQL reads files by table functions (`read_csv`, `read_parquet`, ...) and changes its tables by statements. What
is not listed here is refused before Polars sees it, so that what a later Polars adds is refused as well.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from harmony_core.errors import UserError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Brackets may follow these and are no call.
_BEFORE_BRACKETS = _words(
    """all and any array as between by case cross distinct else except exclude exists filter from group having ilike in
    intersect is join like limit not offset on or order over partition qualify rename replace select some then union
    using values when where within"""
)
# Polars' functions of values, of groups and of windows; none of them reaches beyond the tables.
FUNCTIONS = _words(
    """abs acos acosd array_agg array_contains array_get array_length array_lower array_mean array_reverse array_sum
    array_to_string array_unique array_upper asin asind atan atan2 atan2d atand avg bit_and bit_count bit_length bit_not
    bit_or bit_xor cast cbrt ceil ceiling char_length character_length coalesce concat concat_ws corr cos cosd cot cotd
    count covar covar_pop covar_samp date date_part degrees dense_rank div ends_with exp extract first
    first_value floor greatest if ifnull initcap lag last last_value lead least left length ln log log10 log1p log2
    lower ltrim max median min mod normalize nullif octet_length pi pow power quantile_cont quantile_disc radians rank
    regexp_like replace reverse right round row_number rtrim sign sin sind split_part sqrt starts_with stddev
    stddev_samp stdev stdev_samp strftime string_to_array strpos strptime substr substring sum tan tand timestamp trim
    try_cast unnest upper var var_samp variance"""
)
_STATEMENTS = _words(
    """alter analyze attach call copy create deallocate delete describe drop execute explain export import insert
    install into load merge pragma prepare set show truncate update use"""
)
_TOKENS = re.compile(
    r"""(?P<space>\s+)|(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")*")|(?P<number>[0-9][0-9a-zA-Z_.]*)
    |(?P<word>[^\W\d]\w*)|(?P<sign>[-+*/%<>=!|&^~.,()\[\]{}:;?@])""",
    re.VERBOSE,
)


# What a person types is shorter; a parser that goes as deep as its input's brackets need not meet longer [characters].
_LONGEST_CONDITION, _LONGEST_SELECT = 4000, 20_000


class Token(NamedTuple):
    """A piece of SQL: its kind is `text`, `quoted`, `number`, `word` or `sign`."""

    kind: str
    text: str

    @property
    def name(self) -> str:
        """A word, or what stands in quotes, in small letters, as names are compared."""
        return (self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text).lower()


def _tokens(text: str, field: str, longest: int) -> list[Token]:
    """The pieces of a text without spaces.

    Args:
        text: SQL.
        field: what its mistakes are told of.
        longest: characters that it may have.

    Raises:
        UserError: one is none that is taken here: a comment, a quote of another kind, a quote without its end.
    """
    if len(text) > longest:
        raise UserError(field, f"{len(text)} characters", f"use at most {longest}")
    return list(_split(text, field))


def _split(text: str, field: str) -> Iterator[Token]:
    place, before = 0, ""
    while place < len(text):
        found = _TOKENS.match(text, place)
        # Comments and strings with a prefix, such as E'\'', end where the dialect says, so they are not taken.
        if found is None or text.startswith(("--", "/*"), place) or (found["text"] and before in ("word", "text")):
            fix = "use names, numbers, operators, 'text' and \"columns\" alone, without comments"
            raise UserError(field, text[place : place + 20], fix)
        place, before = found.end(), found.lastgroup or ""
        if before != "space":
            yield Token(before, found[0])


def _refuse_calls(pieces: list[Token], field: str) -> None:
    """UserError for a call of anything but `FUNCTIONS`."""
    for piece, following in itertools.pairwise(pieces):
        if following.text != "(" or piece.kind not in ("word", "quoted"):
            continue
        if piece.kind == "quoted" or piece.name not in FUNCTIONS | _BEFORE_BRACKETS:
            raise UserError(field, f"{piece.text}(", "no function that is allowed here; docs/commands.md lists them")


def refuse_all_but_values(text: str, field: str) -> None:
    """UserError for a condition that holds more than columns, values and functions of them."""
    pieces = _tokens(text, field, _LONGEST_CONDITION)
    for piece in pieces:
        if piece.kind == "word" and piece.name in _STATEMENTS | {"select", "from", "with"}:
            raise UserError(field, piece.text, "use an expression of one row's columns; `harmony sql` asks for more")
    _refuse_calls(pieces, field)


def refuse_all_but_select(text: str, field: str) -> list[Token]:
    """The pieces of exactly one SELECT, with or without a WITH before it; UserError for anything else."""
    pieces = _tokens(text, field, _LONGEST_SELECT)
    if pieces and pieces[-1].text == ";":
        pieces.pop()
    fix = 'give one SELECT, such as "select operator, count(*) from candidates group by operator"'
    if not pieces or pieces[0].name not in ("select", "with") or pieces[0].kind != "word":
        raise UserError(field, text, fix)
    for piece in pieces:
        if piece.text == ";" or (piece.kind == "word" and piece.name in _STATEMENTS):
            raise UserError(field, piece.text, fix)
    _refuse_calls(pieces, field)
    return pieces
