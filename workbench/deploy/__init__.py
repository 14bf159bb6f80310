"""Deploy a variant that a run measured: a folder with the model, its server configuration, and a check of both.

:func:`workbench.deploy.folder.deploy` writes it; :mod:`workbench.serving` starts it.
"""
