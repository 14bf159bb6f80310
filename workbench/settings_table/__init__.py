"""The table of settings: each is declared once, and everything that shows or reads settings is made from it."""
