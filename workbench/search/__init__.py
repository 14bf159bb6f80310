"""Trying mixed precision out: which layers cannot bear INT8, and which variant is best within a budget."""
