"""The machine: what it is, who may measure now, and what holds a process to its limits."""
