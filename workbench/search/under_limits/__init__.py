"""The command ``search``: the best setting of an engine under limits, without measuring all of them."""
