"""CSV logs that survive kills: a resumed run drops the rows behind its checkpoint."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codecs.learned.training.checkpoint import write_atomically
from codecs.learned.training.errors import TrainingError


class CsvLog:
    """Appends rows whose first column is `step`; floats are written with six digits."""

    def __init__(self, path: Path, columns: Sequence[str], resume_at: int) -> None:
        """Open for appending; rows of steps beyond `resume_at` are dropped."""
        self.columns = tuple(columns)
        kept = [row for row in read(path) if int(row["step"]) <= resume_at] if path.exists() else []
        out = io.StringIO()
        writer = csv.DictWriter(out, self.columns, lineterminator="\n")
        writer.writeheader()
        try:
            writer.writerows(kept)
        except ValueError as error:
            raise TrainingError(f"{path} has other columns: move it away") from error
        write_atomically(path, out.getvalue().encode())
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, self.columns, lineterminator="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
        )
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, str]]:
    """The complete rows of a log; a last line that was cut off by a kill is dropped."""
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return list(csv.DictReader(io.StringIO(whole)))
