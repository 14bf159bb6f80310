"""A notebook run without a person, and one HTML file of it."""
