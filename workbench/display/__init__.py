"""What readers see: tables and figures made of results."""
