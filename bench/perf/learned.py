"""Speed and memory of `minnen` beside CompressAI's mbt2018: same weights, one thread.

    python -m bench.perf.learned                   768 x 512
    python -m bench.perf.learned --large           2048 x 1365 as well: minutes in CompressAI

Both sides have the same architecture, weights, image and float32 transforms, and one thread.
Each runs in a fresh process of its own; after a warm-up they code in turns, once each, so that
whatever else the machine does meets both.  Times are medians of CPU seconds (user and system);
CompressAI's entropy part is its decoding less its synthesis.  Peak memory is the largest resident
set while coding: of the whole process, and what coding adds to the loaded model.  Figures are
ratios theirs / ours, larger being better.

Weights are random, N = M = 192, scaled so that the stream has a middle to high rate; the image is
noise with structure at all scales.  Without CompressAI only our figures are printed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.perf import Figure

SIZES = ((768, 512), (2048, 1365))
ASKED = {
    "entropy part of decoding": (">= 15 x", ">= 25 x"),
    "whole decode": (">= 4 x", ">= 4 x"),
    "whole encode": (">= 3 x", ">= 3 x"),
    "peak memory": (">= 1 x", ">= 1 x"),
    "peak memory above the model": (">= 1 x", ">= 1 x"),
    "file": ("", ""),
}
REPEATS = (5, 3)
"""Timed turns for each size."""
CHANNELS = 192
_RENAMED = {
    "entropy_bottleneck.": "prior.",
    "context_prediction.": "context.",
    "entropy_parameters.": "head.",
}


def measure(large: bool = False) -> Iterator[Figure]:
    """Figures of the small size, and with `large` of the large one; ours alone where CompressAI is
    missing."""
    missing = _why_no_compressai()
    names = ["ours"] if missing else ["ours", "compressai"]
    for index, (width, height) in enumerate(SIZES[: 2 if large else 1]):
        with ExitStack() as stack:
            sides = [stack.enter_context(_Side(name, width, height)) for name in names]
            turns = [[side.turn() for side in sides] for _ in range(REPEATS[index])]
        ours, *theirs = [_summary(figures) for figures in zip(*turns, strict=True)]
        for name, asked in ASKED.items():
            unit = "MiB" if "memory" in name else "bytes" if name == "file" else "s"
            label = f"{name}, minnen {width}x{height}"
            digits = 2 if unit == "s" else 0
            figure = f"{ours[name]:.{digits}f} {unit}"
            if theirs:
                ratio = theirs[0][name] / ours[name]
                figure = f"{ratio:.2f} x ({theirs[0][name]:.{digits}f} / {figure})"
            yield Figure(label, figure, asked[index] if theirs else "")
    if missing:
        yield Figure(missing)


def _why_no_compressai() -> str:
    """What to say where the package is missing or cannot be imported; empty where it can."""
    import codecs.compressai_zoo as zoo
    from codecs.base import CodecUnavailable

    try:
        zoo.package()
    except CodecUnavailable:
        return f"CompressAI is not installed, so nothing is compared; to do so: {zoo.INSTALL}"
    return ""


def converted(state: Mapping[str, Any]) -> dict[str, Any]:
    """CompressAI's state dict under the names of `codecs.minnen`, `hyperprior`, `factorised`."""
    out = {}
    for name, value in state.items():
        if name.endswith(("pedestal", "bound", "mask", "target", "scale_table")) or "._" in name:
            continue  # constants and tables that are made from parameters
        if name == "entropy_bottleneck.quantiles":
            out["prior.medians"] = value[:, 0, 1]
            continue
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        out[name] = value
    return out


class _Side:
    """The process of one side, which codes the image once whenever it is asked to."""

    def __init__(self, name: str, width: int, height: int) -> None:
        command = [sys.executable, "-m", "bench.perf.learned", "--side", name]
        command += ["--size", str(width), str(height)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=os.environ | threads
        )

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def turn(self) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("{"):
                figures: dict[str, float] = json.loads(line)
                return figures
        raise RuntimeError(f"a side ended early: {self._process.args!r}")


def _summary(turns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians of times, maxima of memory."""
    return {
        name: max(t[name] for t in turns)
        if "memory" in name
        else statistics.median(t[name] for t in turns)
        for name in ASKED
    }


def _side(side: str, width: int, height: int) -> None:
    """What a process of `_Side` does: a line of figures for each line of input."""
    import torch

    torch.set_num_threads(1)
    with torch.no_grad():
        code = {"ours": _ours, "compressai": _compressai}[side]()
        code(_picture(128, 192))
        torch.manual_seed(1)
        picture = _picture(height, width)
        loaded = _reset_peak()
        for _ in sys.stdin:
            figures = code(picture)
            peak = _status("VmHWM")
            figures |= {"peak memory": peak, "peak memory above the model": peak - loaded}
            print(json.dumps(figures), flush=True)


def _reset_peak() -> float:
    """Forget the peak of this process so far (Linux); MiB resident now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> float:
    """A field of this process's memory status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def _picture(height: int, width: int) -> Any:
    """Noise of scales 64 to 2, float[1, 3, height, width] in 0...1."""
    import torch
    from torch.nn import functional

    x = torch.zeros(1, 3, height, width)
    for scale in (64, 32, 16, 8, 4, 2):
        rows, columns = -(-height // scale), -(-width // scale)
        noise = torch.randn(1, 3, rows + 1, columns + 1)
        layer = functional.interpolate(noise, (rows * scale, columns * scale), mode="bilinear")
        x += layer[:, :, :height, :width] * (scale / 64) ** 0.5
    return torch.sigmoid(x)


def _network() -> Any:
    """Random weights whose latent has a standard deviation of 0.4 and densities to match."""
    import torch

    from codecs.minnen import Minnen

    torch.manual_seed(0)
    network = Minnen(CHANNELS, CHANNELS).eval()
    with torch.no_grad():
        last = network.g_a[-1]
        assert isinstance(last, torch.nn.Conv2d)
        last.weight *= 0.4 / network.g_a(_picture(256, 256)).std()
        bias = network.head[-1].bias
        assert isinstance(bias, torch.Tensor)
        bias[:CHANNELS] = 0.45
    return network


def _ours() -> Callable[[Any], dict[str, float]]:
    import torch

    from codecs.learned import weights
    from codecs.learned.codec import load_model
    from codecs.learned.transform import TransformModel
    from codecs.minnen import Minnen

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        weights.export(_network(), path, {})
        model = load_model(path, Minnen, TransformModel)

    def code(x: Any) -> dict[str, float]:
        image = (x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        encode, data = _seconds(lambda: model.encode(image))
        entropy, decoded = _seconds(lambda: model.decode_symbols(data))
        synthesis, _ = _seconds(lambda: model.synthesise(*decoded))
        return _figures(encode, entropy + synthesis, entropy, len(data))

    return code


def _compressai() -> Callable[[Any], dict[str, float]]:
    import torch
    from compressai.models import JointAutoregressiveHierarchicalPriors
    from compressai.models.google import get_scale_table

    model = JointAutoregressiveHierarchicalPriors(CHANNELS, CHANNELS).eval()
    state, ours = model.state_dict(), _network().state_dict()
    names = {id(value): name for name, value in state.items()}
    pairs = {names[id(v)]: new for new, v in converted(state).items() if id(v) in names}
    model.load_state_dict(state | {theirs: ours[name] for theirs, name in pairs.items()})
    model.update(get_scale_table(), force=True)

    def code(x: Any) -> dict[str, float]:
        height, width = x.shape[2:]
        x = torch.nn.functional.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")
        encode, coded = _seconds(lambda: model.compress(x))
        decode, _ = _seconds(lambda: model.decompress(**coded))
        y = torch.zeros(1, CHANNELS, x.shape[2] // 16, x.shape[3] // 16)
        synthesis, _ = _seconds(lambda: model.g_s(y))
        size = sum(len(part) for section in coded["strings"] for part in section)
        return _figures(encode, decode, decode - synthesis, size)

    return code


def _figures(encode: float, decode: float, entropy: float, size: int) -> dict[str, float]:
    figures = {"entropy part of decoding": entropy, "whole decode": decode}
    return figures | {"whole encode": encode, "file": float(size)}


def _seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU seconds, result)."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.perf.learned")
    parser.add_argument("--large", action="store_true", help="2048 x 1365 as well")
    parser.add_argument("--side", choices=("ours", "compressai"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, default=SIZES[0], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        _side(options.side, *options.size)
        return 0
    for figure in measure(options.large):
        print(figure, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
