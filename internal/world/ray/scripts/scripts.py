"""Command line of the stand-in ray (Stand-in for tests; not Ray)."""

import argparse
import sys

import ray


def build_parser():
    parser = argparse.ArgumentParser(
        prog="ray", description="Stand-in for tests; not Ray."
    )
    parser.add_argument(
        "--version",
        action="version",
        # The form that click gives Ray's own "ray --version".
        version="ray, version " + ray.__version__,
    )
    return parser


def main(argv=None):
    parser = build_parser()
    args = parser.parse_args(argv)
    del args
    parser.print_help(sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
