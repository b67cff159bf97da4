"""Speed and memory of `codecs.minnen` against CompressAI's mbt2018, same weights, one thread.

    python -m tests.compare_speed ours 768 512
    python -m tests.compare_speed compressai 768 512

Run where CompressAI is installed, one after the other on the same machine.  Each prints process
CPU seconds and peak memory.  The weights are random, N = M = 192, scaled so that the stream has a
mid to high rate; the picture is `smooth_noise`.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import bench  # noqa: F401 - makes the folder codecs/ importable
from codecs.learned import weights
from codecs.minnen.codec import ARCHITECTURE, MinnenModel, export
from codecs.minnen.network import Minnen
from tests.learned_toys import smooth_noise
from tests.make_compressai_reference import converted


def network() -> Minnen:
    torch.manual_seed(0)
    net = Minnen(192, 192).eval()
    with torch.no_grad():
        y = net.g_a(smooth_noise(1, 256))
        last = net.g_a[-1]
        assert isinstance(last, torch.nn.Conv2d)
        last.weight *= 0.4 / y.std()
        bias = net.head[-1].bias
        assert isinstance(bias, torch.Tensor)
        bias[:192] = 0.45
    return net


def seconds(what: str, action: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = action()
    print(f"{what:28} {time.process_time() - start:8.3f} s", flush=True)
    return result


def ours(x: torch.Tensor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        export(network(), path, {})
        model = MinnenModel(weights.load(path, ARCHITECTURE))
    image = (x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    data = seconds("encode", lambda: model.compress(image))
    print(f"{len(data)} bytes")
    for _ in range(3):
        header, y = seconds("decode, entropy part", lambda: model.decode_latents(data))
    seconds("decode, synthesis", lambda: model.synthesise(header, y))


def compressai(x: torch.Tensor) -> None:
    from compressai.models import JointAutoregressiveHierarchicalPriors
    from compressai.models.google import get_scale_table

    model = JointAutoregressiveHierarchicalPriors(192, 192).eval()
    ours_state, state = network().state_dict(), model.state_dict()
    names = {id(value): name for name, value in state.items()}
    pairs = {names[id(v)]: k for k, v in converted(state).items() if id(v) in names}
    model.update(get_scale_table(), force=True)
    model.load_state_dict(
        model.state_dict() | {theirs: ours_state[name] for theirs, name in pairs.items()}
    )
    model.update(get_scale_table(), force=True)
    height, width = x.shape[2:]
    x = torch.nn.functional.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")
    stream = seconds("encode", lambda: model.compress(x))
    print(f"{sum(len(s[0]) for s in stream['strings'])} bytes")
    seconds("decode", lambda: model.decompress(**stream))
    y = torch.zeros(1, 192, x.shape[2] // 16, x.shape[3] // 16)
    seconds("decode, synthesis", lambda: model.g_s(y))


def main() -> None:
    torch.set_num_threads(1)
    who, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.manual_seed(1)
    x = smooth_noise(1, height, width)
    with torch.no_grad():
        {"ours": ours, "compressai": compressai}[who](x)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
