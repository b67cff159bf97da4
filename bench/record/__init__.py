"""What a run leaves on disk: measurements, streams, and what was asked for."""
