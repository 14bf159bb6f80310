"""Other Python environments that engines are built and run in."""
