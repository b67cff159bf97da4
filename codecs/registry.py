"""Names -> codecs.  Listing and checking names imports no codec library.

A codec is named by

- a built-in name, with variants after colons: `jpeg`, `vvenc:medium:qpa`;
- an entry point in group `bench.codecs` of an installed package, whose value is a factory
  `codec(variant: str | None = None) -> Codec`;
- the path of a Python file with such a function `codec`;
- the path of a TOML file that gives two command lines (see `codecs.command`);
- a built-in name and, after an `@`, files of weights: `compressai:mbt2018@./ckpt-{value}.pth`.

and, after an `@`, the points to run or rates to code to: see `codecs.selection`.

Such a name is all that another process needs to make the same codec.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from codecs import checkpoints, foreign
from codecs.base import Codec, CodecError, CodecUnavailable
from codecs.builtin import BUILT_IN, Entry
from codecs.naming import UnknownCodec, check_spelling, suggestion, variants_of
from codecs.selection import split
from codecs.target import select

if TYPE_CHECKING:
    from codecs.learned.network import CodecNetwork

__all__ = [
    "Entry",
    "UnknownCodec",
    "absolute",
    "available",
    "check_name",
    "create",
    "file_of",
    "is_foreign_code",
    "network",
    "trainable",
    "unaliased",
]

GROUP = "bench.codecs"


def available() -> list[Entry]:
    """All codecs that have a name, built in ones first; entry points are not loaded."""
    return [*BUILT_IN, *_entry_points()]


def check_name(name: str) -> None:
    """Raise unless `create` can find `name`: `UnknownCodec`, or `CodecError` for a bad entry
    point.  Loads nothing."""
    name, _ = split(name)
    if file := _as_file(name):
        _existing(file[0])
    elif weights := _find(name)[2]:
        checkpoints.found(weights)


def unaliased(name: str) -> str:
    """`hevc` for `bpg`, for `hevc:bt601`, its default, and for `hevc@30`, which is filed under it;
    other names as they are."""
    name, selection = split(name)
    suffix = selection.suffix if selection else ""
    base, *variants = name.split(":")
    for entry in BUILT_IN:
        if base == entry.name or base in entry.aliases:
            name = ":".join([entry.name, *(v for v in variants if v not in entry.defaults)])
    return name + suffix


def is_foreign_code(name: str) -> bool:
    """Whether the codec's own code, not the harness's, runs in the process that creates it: a
    Python file or an entry point.  Loads nothing."""
    name, _ = split(name)
    if file := _as_file(name):
        return file[0].suffix == ".py"
    base = name.partition("@")[0].partition(":")[0]
    return all(base not in (entry.name, *entry.aliases) for entry in BUILT_IN)


def create(name: str, *, encoding: bool = True) -> Codec:
    """The codec called `name`; without `encoding`, also where it cannot encode.

    Raises `UnknownCodec` (with a suggestion), `CodecUnavailable` where a tool or library is
    missing or somebody's Python code is broken, `CodecError` for a mistake in a TOML file and for
    points that it does not have.
    """
    name, selection = split(name)
    codec = _create(name, encoding=encoding)
    return select(codec, selection) if selection and encoding else codec


def _create(name: str, *, encoding: bool) -> Codec:
    if file := _as_file(name):
        path, variant = _existing(file[0]), file[1]
        if path.suffix == ".py":
            return _own_name(foreign.from_file(path, variant), str(path))
        from codecs.command import load as load_commands

        return _own_name(load_commands(path, variant), str(path))
    entry, variant, weights = _find(name)
    if entry not in BUILT_IN:
        return _own_name(foreign.from_package(entry.target, variant, name), name)
    target = entry.target if encoding else entry.decoder or entry.target
    module, _, function = (entry.from_files if weights else target).partition(":")
    with foreign.reasons(name):  # of the libraries that it imports
        imported = importlib.import_module(module)
    if weights:
        made: Codec = getattr(imported, function)(variant, weights)
        return made
    return foreign.factory(imported, function)(variant)


def trainable() -> list[str]:
    """The codecs whose networks can be trained here."""
    return [entry.name for entry in BUILT_IN if entry.network]


def learned() -> list[str]:
    """The codecs that have a network of theirs, or weights."""
    return [entry.name for entry in BUILT_IN if entry.network or _has_weights(entry)]


def lacks_weights(entry: Entry) -> bool:
    """Whether a codec has a network here, but nobody's training of it."""
    return bool(entry.network) and not _has_weights(entry)


def _has_weights(entry: Entry) -> bool:
    folder = Path(__file__).parent / "weights" / entry.name
    return any(folder.glob("*.safetensors"))


def network(name: str) -> type[CodecNetwork]:
    """The class of the network behind a codec of `trainable`, or the one that a Python file
    defines; raises `UnknownCodec`, and `CodecUnavailable` where the file is broken."""
    file = _as_file(name)
    if file and file[0].suffix == ".py":
        return _network_in(foreign.module_of(_existing(file[0])), name)
    for entry in BUILT_IN:
        if entry.name == name and entry.network:
            module, _, attribute = entry.network.partition(":")
            found: type[CodecNetwork] = getattr(importlib.import_module(module), attribute)
            return found
    hint = suggestion(name, trainable())
    raise UnknownCodec(f"no network {name!r} to train{hint} (or the path of a .py file)")


def _network_in(module: ModuleType, name: str) -> type[CodecNetwork]:
    from codecs.learned.network import CodecNetwork

    own = [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, CodecNetwork)
        and found.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise UnknownCodec(f"{name} defines {len(own)} kinds of CodecNetwork; training needs one")
    return own[0]


def _find(name: str) -> tuple[Entry, str | None, str]:
    """The entry, the variant and the files of weights that `name` means."""
    named, _, weights = name.partition("@")
    base, colon, rest = named.partition(":")
    variant = rest if colon else None
    entries = available()
    found = [entry for entry in entries if base == entry.name or base in entry.aliases]
    if found and weights and not found[0].from_files:
        raise UnknownCodec(f"{base} takes no files of weights after an @")
    if found and found[0] in BUILT_IN:
        variants_of(base, variant, found[0].variants)
        return found[0], variant, weights
    # Of two packages with one name neither is preferred.
    problems = [entry.problem for entry in found if entry.problem]
    if problems:
        raise CodecError(f"codec {base}: {problems[0]}")
    if found:
        return found[0], variant, weights
    known = [spelling for entry in entries for spelling in (entry.name, *entry.aliases)]
    hint = suggestion(base, known)
    raise UnknownCodec(
        f"unknown codec {name!r}{hint} (or the path of a .toml or .py file, such as ./my.toml)"
    )


@functools.cache
def _entry_points() -> tuple[Entry, ...]:
    taken = {spelling for entry in BUILT_IN for spelling in (entry.name, *entry.aliases)}
    found = []
    for point in importlib.metadata.entry_points(group=GROUP):
        origin = f"package {point.dist.name}" if point.dist else "a package"
        problem = _problem(point, taken, origin)
        taken.add(point.name)
        found.append(
            Entry(
                name=point.name,
                variants=(),
                aliases=(),
                summary=f"from {origin}" + (f"; cannot be used: {problem}" if problem else ""),
                target=point.value,
                problem=problem,
            )
        )
    return tuple(sorted(found, key=lambda entry: entry.name))


def _problem(point: importlib.metadata.EntryPoint, taken: set[str], origin: str) -> str:
    if point.name in taken:
        return f"{origin} gives a codec the name {point.name!r}, which is taken: rename it there"
    try:
        check_spelling(point.name)
        top = point.module.partition(".")[0]
        if importlib.util.find_spec(top) is None:
            return f"{origin} names the module {top!r}, which is not installed"
    except (CodecError, ValueError, AttributeError) as error:
        return f"{origin}: {error}"
    return ""


def _as_file(name: str) -> tuple[Path, str | None] | None:
    match = re.fullmatch(r"(.+\.(?:py|toml))(?::(.+))?", name)
    return (Path(match[1]), match[2]) if match else None


def file_of(name: str) -> Path | None:
    """The file that a codec comes from, absolute; None where it is no file's.

    Two files of equal content are two codecs: each finds its own weights beside it.
    """
    file = _as_file(split(name)[0])
    return file[0].resolve() if file else None


def absolute(name: str) -> str:
    """The codec's name for a process that runs in another folder."""
    base, _ = split(name)
    file = _as_file(base)
    if file:
        whole = ":".join(filter(None, (str(file[0].resolve()), file[1])))
    else:
        named, at, weights = base.partition("@")
        whole = f"{named}@{Path(weights).expanduser().absolute()}" if at else base
    return whole + name.removeprefix(base)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UnknownCodec(f"there is no file {path}")
    return path.resolve()


def _own_name(codec: Codec, where: str) -> Codec:
    """Somebody's codec, unless it has the name of a built-in one."""
    built_in = {spelling for entry in BUILT_IN for spelling in (entry.name, *entry.aliases)}
    if codec.name.partition(":")[0] in built_in:
        raise CodecUnavailable(f"{where}: the name {codec.name!r} belongs to a built-in codec")
    return codec
