"""Calls a C library from CPython: ctypes_calls.py LIBRARY. The library draws the cards, Python plays them."""

import ctypes
import sys

library = ctypes.CDLL(sys.argv[1])
library.print_chains()
played = [library.serve_sum, library.serve_scan, library.serve_hash]


def play_for_ever():
    while True:
        played[library.draw_card()]()


play_for_ever()
