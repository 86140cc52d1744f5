"""Answers ClickHouse's HTTP interface from an embedded engine: python3 chdb_server.py FOLDER, prints its port."""

import http.server
import os
import sys
import threading

from chdb import session

FOLDER = sys.argv[1]
INSERT = b" FORMAT RowBinary\n"
engine = session.Session(os.path.join(FOLDER, "data"))
engine.query("SET deduplicate_blocks_in_dependent_materialized_views = 1")
turn = threading.Lock()


def answer(body):
    head, mark, rows = body.partition(INSERT)
    if not mark:
        return engine.query(body.decode()).bytes() or b""
    # The engine takes statements as text, so the rows go through a file.
    path = os.path.join(FOLDER, "rows.bin")
    with open(path, "wb") as file:
        file.write(rows)
    engine.query(f"{head.decode()} FROM INFILE '{path}' FORMAT RowBinary")
    return b""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            with turn:
                status, content = 200, bytes(answer(body))
        except Exception as error:  # What the engine says is the answer.
            status, content = 500, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
