"""A real object store on this machine, which can be made to fail as a far one does."""

import contextlib
import functools
import itertools
import json
import logging
import threading
import time
import urllib.request
from http import server

from gcp_storage_emulator.server import RequestHandler, create_server

BUCKET = "bucket-one"


class Faults:
    """What a server does to its clients; nothing unless it is told to.

    Attributes:
        busy_every: every so many-th request is answered 503 and 429 in turns.
        silent_every: every so many-th is not answered at all.
        away: no request is.
        refused: by the name of a bucket, which requests, such as `POST PUT`, are answered with
            which status and reason; the status 0 is no answer.
        full_after: so many requests that write; from then on they are answered as of a full quota.
        asked: how many requests there have been.
    """

    def __init__(self):
        self.busy_every = self.silent_every = 0
        self.away, self.asked = False, 0
        self.refused, self.full_after = {}, None
        self._codes = itertools.cycle((503, 429))

    def of(self, handler):
        """Fail a request, or not; whether it has been failed."""
        self.asked += 1
        if self.away:
            handler.close_connection = True
            return True
        if self.full_after is not None and handler.command in ("POST", "PUT"):
            self.full_after -= 1
            if self.full_after < 0:
                return _refuse(handler, 403, "quotaExceeded")
        for bucket, (methods, status, reason) in self.refused.items():
            if f"/b/{bucket}/" in handler.path and handler.command in methods.split():
                return _refuse(handler, status, reason)
        if self.silent_every and self.asked % self.silent_every == 0:
            time.sleep(3600)
        if self.busy_every and self.asked % self.busy_every == 0:
            handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            handler.send_response(next(self._codes))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True
        return False


def _refuse(handler, status, reason):
    if not status:
        handler.close_connection = True
        return True
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    error = {"code": status, "message": f"It is {reason}.", "errors": [{"reason": reason}]}
    answer = json.dumps({"error": error}).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    handler.wfile.write(answer)
    return True


@contextlib.contextmanager
def gcs_server():
    """Serve an empty `BUCKET`; gives the environment of its clients, and its `Faults`."""
    logging.getLogger("api").setLevel(logging.CRITICAL)
    storage = create_server("", 0, in_memory=True, default_bucket=BUCKET)._storage
    faults, one = Faults(), threading.Lock()

    class Handler(RequestHandler):
        pass

    def answer(name, handler):
        if name == "do_DELETE" and handler.path.startswith("/upload/"):  # the emulator knows not
            handler.send_response(499)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif not faults.of(handler):
            with one:  # its memory knows no threads
                getattr(RequestHandler, name)(handler)

    for name in ("do_GET", "do_POST", "do_PUT", "do_DELETE", "do_PATCH"):
        setattr(Handler, name, functools.partialmethod(lambda self, name: answer(name, self), name))
    served = server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, storage))
    served.handle_error = lambda *_: None  # clients go in the middle of an answer
    served.daemon_threads, served.block_on_close = True, False
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{served.server_address[1]}"
    environment = {
        "STORAGE_EMULATOR_HOST": address,
        # gcsfs asks by gRPC, which the emulator has not, of what kind a bucket is.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    try:
        yield environment, faults
    finally:
        served.shutdown()
        served.server_close()


@contextlib.contextmanager
def s3_server():
    """Serve an empty `BUCKET` as Amazon's; gives the environment of its clients."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    served = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    reset = f"http://{host}:{port}/moto-api/reset"  # all servers of a process have one memory
    with urllib.request.urlopen(urllib.request.Request(reset, method="POST")):
        pass
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        served.stop()
