"""Who may do what. Pure: what is asked is in the arguments, what is answered is yes or no."""

from typing import Literal

from kingpost.model import Principal, Resource

type Action = Literal["read", "update", "delete"]


def may_touch_account(principal: Principal, user_id: str) -> bool:
    """Whether the caller may read or change an account: its own, or any as an administrator."""
    return principal.user_id == user_id or principal.is_admin


def may(principal: Principal, action: Action, resource: Resource) -> bool:
    """Whether the caller may do this to a resource: its owner and administrators may do everything."""
    return principal.user_id == resource.owner_id or principal.is_admin
