"""Names of codecs: what they may look like, and help for those who mistype one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from codecs.base import CodecError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(:[A-Za-z0-9._+-]+)*")
"""Letters, digits, `.`, `_`, `+`, `-`; variants after colons."""
LONGEST_NAME = 64


class UnknownCodec(CodecError):
    """There is no codec or variant of this name; the message suggests one."""


def check_spelling(name: str) -> str:
    """`name`, or `CodecError` where it does not fit `NAME`.

    Names become table cells, file names and keys of measurements: they are kept plain.
    """
    if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
        raise CodecError(
            f"{name[:80]!r} cannot name a codec: use letters, digits and . _ + - "
            f"(variants after colons), at most {LONGEST_NAME} characters"
        )
    return name


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'vvenc'?` where known words begin so or one is close, else what there is."""
    known = list(known)
    begun = [each for each in known if word and each.startswith(word)]
    if close := begun or difflib.get_close_matches(word, known, n=1):
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; there is: {', '.join(known)}" if known else ""


def variants_of(codec: str, variant: str | None, known: Collection[str]) -> frozenset[str]:
    """The parts of `a:b`, each of which must be known and occur once; else `UnknownCodec`."""
    parts = variant.split(":") if variant is not None else []
    for part in parts:
        if part not in known:
            hint = suggestion(part, known) if known else f"; {codec} has no variants"
            raise UnknownCodec(f"unknown variant {part!r} of codec {codec}{hint}")
    if len(set(parts)) != len(parts):
        raise UnknownCodec(f"{codec}:{variant} names a variant twice")
    return frozenset(parts)


def choice_of(
    codec: str, variant: str | None, settings: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """For each setting the word that the parts of `a:b` choose, else its first one; "" is no word.

    Raises `UnknownCodec` for parts that are no words, or of one setting.
    """
    parts = variants_of(codec, variant, [w for words in settings.values() for w in words if w])
    choice = {}
    for setting, words in settings.items():
        chosen = [word for word in words if word in parts]
        if len(chosen) > 1:
            raise UnknownCodec(f"{codec}:{variant}: {' and '.join(chosen)} exclude each other")
        choice[setting] = chosen[0] if chosen else words[0]
    return choice
