"""Who may do what with a resource. Pure: the answer depends on the arguments only."""

from typing import Literal

from kingpost.model import Principal, Resource

type Action = Literal["read", "update", "delete"]


def may(principal: Principal, action: Action, resource: Resource) -> bool:
    """Return whether the caller may do this to a resource: its owner and administrators may do everything."""
    return principal.user_id == resource.owner_id or principal.is_admin
