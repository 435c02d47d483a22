"""The service accounts that clients log in as: their key files, the endpoints that lend tokens, who calls."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from werkzeug import Request

from mlops_assets_tests.standins.gcp.web import ApiError, Route

_LIFETIME = 3_600
# Whom the deployment's own processes log in as, and whom its containers do.
ORCHESTRATOR, JOBS = "mlops", "jobs"
# Emulators are shown no credentials: who is told this name of the host is known by it.
JOBS_HOST = "localhost"


class ServiceAccount:
    """One account with a fresh key; a token is lent for an assertion that the key has signed."""

    def __init__(self, folder: Path, name: str, project: str, endpoint: str) -> None:
        """Write the key below `folder`, in the shape that Google hands keys out."""
        self.name, self.email = name, f"{name}@{project}.iam.gserviceaccount.com"
        self.file = file = folder / f"{name}.json"
        self._key = rsa.generate_private_key(65537, 2048)
        self._tokens: dict[str, float] = {}
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": project,
            "private_key_id": secrets.token_hex(20),
            "private_key": private.decode(),
            "client_email": self.email,
            "client_id": "1",
            "token_uri": f"{endpoint}/token/{name}",
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(content))

    def routes(self) -> list[Route]:
        """The token endpoint."""
        return [Route("oauth2.token", "POST", f"/token/{self.name}", self._lend)]

    def admitted(self, token: str) -> bool:
        """Whether the token was lent, or is a JWT that the account signed itself, and has not expired."""
        if token.count(".") == 2:
            try:
                return self._claim(token)["exp"] > time.time()
            except ApiError:
                return False
        return self._tokens.get(token, 0) > time.time()

    def expire(self) -> None:
        """Make every token that was lent so far a stale one."""
        self._tokens.clear()

    def _lend(self, request: Request) -> dict[str, Any]:
        self._claim(request.form.get("assertion", ""))
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.time() + _LIFETIME
        return {"access_token": token, "expires_in": _LIFETIME, "token_type": "Bearer"}

    def _claim(self, assertion: str) -> dict[str, Any]:
        """What a JWT claims that the account's key has signed."""
        head, claims, signature = (assertion + "..").split(".")[:3]
        try:
            signed = f"{head}.{claims}".encode()
            self._key.public_key().verify(_decoded(signature), signed, padding.PKCS1v15(), hashes.SHA256())
            claim = json.loads(_decoded(claims))
        except (InvalidSignature, ValueError):
            raise ApiError(400, "invalid_grant", "Invalid JWT Signature.") from None
        if claim["iss"] != self.email or claim["exp"] < time.time():
            raise ApiError(400, "invalid_grant", "Invalid JWT: issuer or expiry.")
        return claim


def caller(environ: Mapping[str, Any], accounts: Sequence[ServiceAccount]) -> str:
    """The name of the account that makes a request."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme == "Bearer":
        return next((account.name for account in accounts if account.admitted(token)), "nobody")
    return JOBS if environ.get("HTTP_HOST", "").partition(":")[0] == JOBS_HOST else ORCHESTRATOR


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
