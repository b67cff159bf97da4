"""The command line: the one part that knows both the harness and its reports."""
