"""The token of a link, as requests hold it."""

from typing import Annotated

from msgspec import Meta

MailedToken = Annotated[
    str,
    Meta(
        max_length=256,
        description="The token of the link in the mail.",
        examples=["kQx1ZtB0d3Jm5q8uVw2yA4c6e9g7h0jLnPrTsXzKbMo"],
    ),
]
