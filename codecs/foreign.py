"""Other people's codecs in Python: loaded from a file or a package, checked, tied to their code.

Whatever their code raises while the codec is made makes that codec unavailable, with the reason;
other codecs of the same run are not touched.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from codecs import declared, fingerprint
from codecs.base import Codec, CodecError, CodecUnavailable, Image, Point, Trials
from codecs.naming import UnknownCodec, check_spelling
from codecs.surroundings import OWN_MODULES, Surroundings

Factory = Callable[[str | None], Codec]
VARIANT = "variant"
"""The setting under which measurements are keyed by the variant that was asked for."""

_SURROUNDINGS: dict[str, Surroundings] = {}
"""By file or module: it is run once, and has made its changes then."""


def from_file(path: Path, variant: str | None) -> Codec:
    """What the function `codec` of the Python file at `path` returns.

    Raises `CodecUnavailable` for everything that goes wrong in the file, but lets `UnknownCodec`
    of its factory (an unknown variant) through.
    """
    surroundings = _SURROUNDINGS.setdefault(str(path), Surroundings())
    with reasons(str(path), path), surroundings.entered():
        module, digest = loaded(path)
        codec = factory(module, "codec")(variant)
        files = f"{declared.spelled(path.name)} {digest}"
        return _Checked(codec, variant, files, surroundings)


def module_of(path: Path) -> ModuleType:
    """The Python file at `path`, run; raises as `from_file` does."""
    surroundings = _SURROUNDINGS.setdefault(str(path), Surroundings())
    with reasons(str(path), path), surroundings.entered():
        return loaded(path)[0]


def from_package(target: str, variant: str | None, where: str) -> Codec:
    """What the factory `module:function` of an installed package returns; as `from_file`."""
    name, _, function = target.partition(":")
    surroundings = _SURROUNDINGS.setdefault(name, Surroundings())
    with reasons(where), surroundings.entered():
        module = importlib.import_module(name)
        codec = factory(module, function)(variant)
        files = fingerprint.named_files([getattr(module, "__file__", None) or ""])
        return _Checked(codec, variant, fingerprint.described(files), surroundings)


def factory(module: ModuleType, function: str) -> Factory:
    """The function (or `Class.method`) of a module that makes a codec."""
    found = attribute(module, function)
    if not callable(found):
        raise CodecError(f"needs a function {function}(variant: str | None = None) -> Codec")
    made: Factory = found
    return made


def attribute(module: ModuleType, name: str) -> Any:
    """What a module calls `name`, or `Class.name`; None where there is nothing of that name."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


@contextmanager
def reasons(where: str, path: Path | None = None) -> Iterator[None]:
    """Turn whatever somebody's code raises into `CodecUnavailable`; `path` is the code's file."""
    try:
        yield
    except (CodecUnavailable, UnknownCodec):
        raise
    except CodecError as error:
        raise CodecUnavailable(f"{where}: {error}") from error
    except ImportError as error:
        reason = _short(error, path)
        raise CodecUnavailable(f"{where}: {reason}; install what it needs") from error
    except (Exception, SystemExit) as error:  # a script may well call sys.exit when imported
        raise CodecUnavailable(f"{where}: {_short(error, path)}") from error


class _Checked(Codec):
    """Somebody's codec, with what the harness relies on read once and made sure of.

    `files` joins the settings: measurements are keyed by them, so that a changed file is measured
    again, whatever version it claims.  Its methods run in its own surroundings.
    """

    def __init__(
        self, codec: Any, variant: str | None, files: str, surroundings: Surroundings
    ) -> None:
        if not isinstance(codec, Codec):
            raise CodecError(f"expected a codecs.base.Codec, got {type(codec).__name__}")
        self._codec = codec
        self._surroundings = surroundings
        self.name = check_spelling(_text(codec, "name"))
        self.label = _text(codec, "label")
        self.version = _text(codec, "version")
        self.points = declared.points(getattr(codec, "points", ()))
        self.choices = declared.choices(getattr(codec, "choices", ()))
        # A factory may give its variants one name; they are not one codec for that.
        own = {**codec.settings, **({VARIANT: variant} if variant is not None else {})}
        self.settings = {
            **declared.settings(own),
            **({fingerprint.SETTING: files} if files else {}),
        }
        self.device = _text(codec, "device")
        self.warm_up = bool(codec.warm_up)
        self.estimates = bool(codec.estimates)
        self.tuned_for = tuple(declared.text(name, "tuned_for") for name in codec.tuned_for)

    def encode(self, image: Image, point: Point) -> bytes:
        with self._surroundings.entered():
            return self._codec.encode(image, point)

    def decode(self, data: bytes) -> Image:
        with self._surroundings.entered():
            image = self._codec.decode(data)
            self.decoded_notes = tuple(str(note)[:200] for note in self._codec.decoded_notes)
            return image

    def trials(self, image: Image) -> Trials:
        with self._surroundings.entered():
            return _CheckedTrials(self, image, self._codec.trials(image), self._surroundings)

    def command(self, point: Point) -> str | None:
        with self._surroundings.entered():
            return self._codec.command(point)

    def seconds(self, pixels: int, point: Point) -> float:
        with self._surroundings.entered():
            return self._codec.seconds(pixels, point)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        with self._surroundings.entered():
            return self._codec.diagnostics(image, data)


class _CheckedTrials(Trials):
    """Somebody's own, in their surroundings."""

    def __init__(
        self, codec: Codec, image: Image, trials: Trials, surroundings: Surroundings
    ) -> None:
        super().__init__(codec, image)
        self._trials, self._surroundings = trials, surroundings

    def size(self, point: Point) -> float:
        with self._surroundings.entered():
            return float(self._trials.size(point))

    def code(self, point: Point) -> bytes:
        with self._surroundings.entered():
            return self._trials.encode(point)


def _text(codec: Codec, attribute: str) -> str:
    if not hasattr(codec, attribute):
        raise CodecError(f"its codec has no {attribute}")
    return declared.text(getattr(codec, attribute), attribute)


def loaded(path: Path) -> tuple[ModuleType, str]:
    """Run a Python file once per content.  Returns its module and the content's digest."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise CodecError(f"cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(source).hexdigest()[:16]
    name = f"bench_codec_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}_{digest}"
    if name in sys.modules:
        return sys.modules[name], digest
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up there.
    sys.modules[name] = module
    before = set(sys.modules)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # of its surroundings, as of a script that is started
    try:
        # Not by the loader, which may run compiled code that is older than a quick change, and
        # not read twice: what runs is what the digest is of.
        code = compile(source, str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        OWN_MODULES.update(_beside(path, set(sys.modules) - before))
    return module, digest


def _beside(path: Path, imported: Iterable[str]) -> Iterator[str]:
    """Those of some modules that lie in the folder of a file: another one's may have their names,
    but for the harness, should the file lie in its checkout."""
    if path.parent == Path(__file__).resolve().parents[1]:
        return
    for name in imported:
        file = getattr(sys.modules.get(name.partition(".")[0]), "__file__", None)
        if file and path.parent in (Path(file).parent, Path(file).parent.parent):
            yield name


def _short(error: BaseException, path: Path | None) -> str:
    """`ValueError: what (line 3)`."""
    frames = traceback.extract_tb(error.__traceback__) if path else []
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}"[:500] + where
