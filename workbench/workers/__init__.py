"""Child processes: both ends of their protocol, with JSON lines over pipes and arrays as files."""
