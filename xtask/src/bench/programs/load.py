"""Work for CPython: much of it inside its C extensions, which is the native part that is measured."""

import hashlib
import json
import re
import sqlite3
import zlib

WORDS = [f"word{number % 977}-{number}" for number in range(4000)]
PATTERN = re.compile(r"word(\d+)-(?:1|2|3)(\d+)")


def documents():
    text = json.dumps([{"name": word, "size": len(word), "tags": [word] * 3} for word in WORDS])
    return sorted(json.loads(text), key=lambda entry: entry["name"])


def digests():
    return [hashlib.sha256(word.encode() * 50).hexdigest() for word in WORDS]


def matches():
    return sum(len(PATTERN.findall(word + " " + word)) for word in WORDS)


def rows():
    database = sqlite3.connect(":memory:")
    database.execute("create table words (word text, size integer)")
    database.executemany("insert into words values (?, ?)", [(word, len(word)) for word in WORDS])
    # A function in Python that C code calls: C and Python frames alternate.
    database.create_function("rank", 1, lambda word: hash(word) % 101)
    query = "select rank(word) as place, count(*), sum(size) from words group by place order by 2"
    return database.execute(query).fetchall()


def packed():
    return len(zlib.decompress(zlib.compress("".join(WORDS).encode(), 6)))


while True:
    for work in (documents, digests, matches, rows, packed):
        work()
