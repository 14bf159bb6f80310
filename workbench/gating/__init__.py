"""A gate for continuous integration: is the new model, library or environment slower than the old one?"""
