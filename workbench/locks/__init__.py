"""Locked files that name the process that holds them and show that it still runs."""
