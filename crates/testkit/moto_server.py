"""Serves moto's API of AWS on this machine, for tests: at the port that is its argument, else at a free one.

moto 5.2.5 signs SHA-256 of the message whatever MessageType says. KMS signs a message of type DIGEST as it is, and
that is what Portcullis sends, so it is mended here. The port is the first line of the output; the server ends when
its standard input does, so that it never outlives a test. Whoever names a port ends it himself.
"""

import os
import sys
import threading

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

asked = threading.local()
answer_sign = KmsResponse.sign
sign_message = ECDSAPrivateKey.sign


def sign_request(self):
    asked.is_digest = self._get_param("MessageType") == "DIGEST"
    try:
        return answer_sign(self)
    finally:
        asked.is_digest = False


def sign(self, message, signing_algorithm):
    if not getattr(asked, "is_digest", False):
        return sign_message(self, message, signing_algorithm)
    if len(message) != 32:
        raise ValueError("a digest has 32 bytes")
    return self.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))


class Silent(WSGIRequestHandler):
    def log(self, *_arguments):
        pass


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


KmsResponse.sign = sign_request
ECDSAPrivateKey.sign = sign
chosen = int(sys.argv[1]) if len(sys.argv) > 1 else 0
server = make_server(
    "127.0.0.1",
    chosen,
    DomainDispatcherApplication(create_backend_app),
    threaded=True,
    request_handler=Silent,
)
os.environ["MOTO_PORT"] = str(server.server_port)
if not chosen:
    threading.Thread(target=end_with_input, daemon=True).start()
print(server.server_port, flush=True)
server.serve_forever()
