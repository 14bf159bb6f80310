"""The table of settings: each setting is declared once, and command line, panel, notebook and documentation use the table."""
