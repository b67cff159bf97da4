"""Names -> codecs.  Listing and checking names imports no codec library.

A codec is named by

- a built-in name, with variants after colons: `jpeg`, `vvenc:medium:qpa`;
- an entry point in group `bench.codecs` of an installed package, whose value is a factory
  `codec(variant: str | None = None) -> Codec`;
- the path of a Python file with such a function `codec`;
- the path of a TOML file that gives two command lines (see `codecs.command`).

Such a name is all that another process needs to make the same codec.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from codecs.base import Codec, CodecError, CodecUnavailable
from codecs.naming import UnknownCodec, check_spelling, suggestion, variants_of

__all__ = ["Entry", "UnknownCodec", "available", "check_name", "create"]

GROUP = "bench.codecs"


@dataclass(frozen=True, slots=True)
class Entry:
    """A codec that can be named."""

    name: str
    variants: tuple[str, ...]
    """Joined to the name by colons; several where they do not exclude each other."""
    aliases: tuple[str, ...]
    summary: str
    target: str
    """`module:function` of the factory."""
    problem: str = ""
    """Why an entry point cannot be used."""


BUILT_IN = (
    Entry(
        "jpeg",
        ("444", "optimised"),
        (),
        "JPEG 4:2:0, standard tables (libjpeg-turbo)",
        "codecs.pillow:jpeg",
    ),
    Entry("jpeg2000", (), (), "JPEG 2000, 9/7 wavelet (OpenJPEG)", "codecs.pillow:jpeg2000"),
    Entry("webp", (), (), "WebP, lossy, method 6 (libwebp)", "codecs.pillow:webp"),
    Entry(
        "avif",
        ("420", "speed-2", "speed-4", "ssim", "iq"),
        (),
        "AVIF 4:4:4, speed 6, tune psnr (libaom)",
        "codecs.pillow:avif",
    ),
    Entry(
        "jxl",
        ("effort-3", "effort-4", "effort-5", "effort-6", "effort-8", "effort-9"),
        (),
        "JPEG XL, VarDCT, effort 7 (libjxl)",
        "codecs.jxl:codec",
    ),
    Entry(
        "hevc",
        ("bt709",),
        ("bpg",),
        "HEVC intra 4:4:4 8 bit (x265; the coder inside BPG)",
        "codecs.hevc:codec",
    ),
    Entry(
        "vvenc",
        ("faster", "fast", "medium", "slow", "slower", "qpa", "chroma-3", "chroma-6", "vvencapp"),
        (),
        "VVC by VVenC, preset slower, one intra frame, 4:2:0 10 bit, perceptual QPA off",
        "codecs.vvc:codec",
    ),
    Entry(
        "rdonet",
        ("zero-pass", "one-pass", "full"),
        (),
        "RDONet, learned; block sizes by variance (zero-pass)",
        "codecs.rdonet.codec:create",
    ),
    Entry(
        "minnen",
        ("bfloat16",),
        (),
        "Minnen et al. 2018, learned; joint autoregressive and hierarchical priors",
        "codecs.minnen.codec:create",
    ),
    Entry(
        "compressai",
        (
            "mbt2018",
            "mbt2018-mean",
            "bmshj2018-hyperprior",
            "bmshj2018-factorized",
            "cheng2020-anchor",
            "cheng2020-attn",
            "ms-ssim",
        ),
        (),
        "CompressAI's pretrained models, mbt2018 (optional package)",
        "codecs.compressai_models:create",
    ),
)


def available() -> list[Entry]:
    """All codecs that have a name, built in ones first; entry points are not loaded."""
    return [*BUILT_IN, *_entry_points()]


def check_name(name: str) -> None:
    """Raise unless `create` can find `name`: `UnknownCodec`, or `CodecError` for a bad entry
    point.  Loads nothing."""
    if file := _as_file(name):
        _existing(file[0])
    else:
        _find(name)


def create(name: str) -> Codec:
    """The codec called `name`.

    Raises `UnknownCodec` (with a suggestion), `CodecUnavailable` where a tool or library is
    missing, `CodecError` where somebody's codec is broken.
    """
    if file := _as_file(name):
        path, variant = _existing(file[0]), file[1]
        if path.suffix == ".toml":
            from codecs.command import load as load_commands

            if variant is not None:
                raise UnknownCodec(f"{path}: a command codec has no variants")
            codec = load_commands(path)
        else:
            codec = _call(_factory(_load(path), "codec", str(path)), variant, str(path))
        return _checked(codec, str(path))
    entry, variant = _find(name)
    module, _, function = entry.target.partition(":")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise CodecUnavailable(f"{name}: {error}; install what it needs") from error
    except Exception as error:
        if entry in BUILT_IN:
            raise
        raise CodecError(f"{name}: importing {module} failed: {_short(error)}") from error
    factory = _factory(imported, function, f"{name} ({entry.target})")
    if entry in BUILT_IN:
        return factory(variant)
    return _checked(_call(factory, variant, name), name)


def _find(name: str) -> tuple[Entry, str | None]:
    """The entry and the variant that `name` means."""
    base, colon, rest = name.partition(":")
    variant = rest if colon else None
    entries = available()
    named = [entry for entry in entries if base == entry.name or base in entry.aliases]
    if named and named[0] in BUILT_IN:
        variants_of(base, variant, named[0].variants)
        return named[0], variant
    # Of two packages with one name neither is preferred.
    problems = [entry.problem for entry in named if entry.problem]
    if problems:
        raise CodecError(f"codec {base}: {problems[0]}")
    if named:
        return named[0], variant
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


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UnknownCodec(f"there is no file {path}")
    return path.resolve()


def _load(path: Path) -> ModuleType:
    name = f"bench_codec_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ImportError):
            raise CodecUnavailable(f"{path}: {error}; install what it needs") from error
        if isinstance(error, Exception) and not isinstance(error, CodecError):
            raise CodecError(f"{path}: {_short(error)}") from error
        raise
    return module


def _factory(module: ModuleType, function: str, where: str) -> Callable[[str | None], Codec]:
    factory: Any = module
    for part in function.split("."):
        factory = getattr(factory, part, None)
    if not callable(factory):
        raise CodecError(
            f"{where}: needs a function {function}(variant: str | None = None) -> Codec"
        )
    return factory


def _call(factory: Callable[[str | None], Codec], variant: str | None, where: str) -> Codec:
    try:
        return factory(variant)
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(f"{where}: making the codec failed: {_short(error)}") from error


def _checked(codec: Codec, where: str) -> Codec:
    """Somebody's codec, with what the harness relies on made sure of."""
    if not isinstance(codec, Codec):
        raise CodecError(f"{where}: expected a codecs.base.Codec, got {type(codec).__name__}")
    for attribute in ("name", "label", "version"):
        value = getattr(codec, attribute, None)
        if not isinstance(value, str) or not value:
            raise CodecError(f"{where}: its codec has no {attribute}")
    check_spelling(codec.name)
    built_in = {spelling for entry in BUILT_IN for spelling in (entry.name, *entry.aliases)}
    if codec.name.partition(":")[0] in built_in:
        raise CodecError(f"{where}: the name {codec.name!r} belongs to a built-in codec")
    if not getattr(codec, "points", ()):
        raise CodecError(f"{where}: codec {codec.name} has no points")
    return codec


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
