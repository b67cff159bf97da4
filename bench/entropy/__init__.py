"""What an entropy model saves: several of them for the very same latents, by real files.

The transforms of one trained network stay as they are.  Each entropy model is trained for the
latents that they make, all on the same crops and for equally many minutes of a processor, and then
codes the same integers; so all decode to the same pictures, and bytes alone differ.
"""

from pathlib import Path

MEASURED = Path(__file__).with_name("measured.json")
"""What `python -m bench.entropy` found last: the table that reports and docs show."""
