"""Inner works of the stand-in ray (stand-in for tests; not Ray)."""
