"""The response body of the published keys."""

from typing import Annotated

import msgspec
from msgspec import Meta


class JSONWebKeySet(msgspec.Struct, frozen=True):
    """The public keys of access tokens (RFC 7517, section 5)."""

    keys: Annotated[
        list[dict[str, str]],
        Meta(
            description="One JSON Web Key for each signing key.",
            examples=[
                [
                    {
                        "kid": "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a",
                        "use": "sig",
                        "alg": "ES256",
                        "kty": "EC",
                        "crv": "P-256",
                        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                    }
                ]
            ],
        ),
    ]
