"""Files that are copied into deployments. They import NumPy and what is there; nothing of the workbench."""
