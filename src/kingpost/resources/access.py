"""The access rules of resources. Pure: the result depends only on the arguments."""

from typing import Literal

from kingpost.model import Principal, Resource

type Action = Literal["read", "update", "delete"]


def may(principal: Principal, action: Action, resource: Resource) -> bool:
    """Return whether a caller may do an action on a resource. Its owner and administrators may do all actions."""
    return principal.user_id == resource.owner_id or principal.is_admin
