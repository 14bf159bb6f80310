"""Reading of models: safety checks before a library opens a file, one reader for each format, and trial runs."""
