"""The two ends of a child process: JSON lines over pipes, arrays as files."""
