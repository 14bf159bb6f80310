"""The machine: its description, the measuring lock, and the limits of a process."""
