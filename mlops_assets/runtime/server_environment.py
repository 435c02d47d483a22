"""What a model server is told by its environment, where its platform starts it without arguments."""

from __future__ import annotations

# Digest that the model's recorded files must have, and the registered version.
DIGEST_VARIABLE, VERSION_VARIABLE = "MLOPS_MODEL_DIGEST", "MLOPS_MODEL_VERSION"
# Bytes of a request body; types by full name, a JSON list, that a model file may hold beside ours.
BODY_VARIABLE, TRUSTED_VARIABLE = "MLOPS_ENDPOINT_BODY_LIMIT", "MLOPS_TRUSTED_TYPES"
# Bearer token that requests must bring.
TOKEN_VARIABLE = "MLOPS_ENDPOINT_TOKEN"  # noqa: S105 - the variable's name, not a token
