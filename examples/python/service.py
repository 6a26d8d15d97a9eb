"""Answers every request with the machine's name and a count. SIGTERM ends it in order."""

import http.server
import signal
import socket
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    count = 0

    def do_GET(self):
        Handler.count += 1
        body = f"{socket.gethostname()}: request {Handler.count}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def stop(*_):
    print("service: stopped", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
server = http.server.HTTPServer(("", 8000), Handler)
print("service: ready", flush=True)
server.serve_forever()
