"""A comparison as one table, in the format that is asked for."""

from reports.data_tables import as_csv, as_json
from reports.latex import as_latex
from reports.text_tables import as_markdown, as_text

__all__ = ["as_csv", "as_json", "as_latex", "as_markdown", "as_text"]
