"""Stand-in for tests; not Ray.

Has the documented surface of Ray that raybuild's tests need and nothing more.
"""

from ray._version import version as __version__

__all__ = ["__version__"]
