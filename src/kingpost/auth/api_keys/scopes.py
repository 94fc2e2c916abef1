"""The scopes of API keys."""

from collections.abc import Mapping
from typing import Literal, get_args

type Scope = Literal["users:read", "users:write", "users:admin", "resources:read", "resources:write", "audit:read"]

SCOPES: tuple[Scope, ...] = get_args(Scope.__value__)

EXPLANATIONS: Mapping[Scope, str] = {
    "users:read": "Read the owner's account, or all accounts if the owner is an administrator.",
    "users:write": "Change the `name` and `metadata` of the owner's account.",
    "users:admin": "Change, delete and create other accounts, and set `roles` and `status`. Only an administrator can "
    "create a key with this scope, and it has an effect only while its owner is an administrator.",
    "resources:read": "Read the resources that the owner may read.",
    "resources:write": "Create, change and delete the resources that the owner may change.",
    "audit:read": "Read the audit log, if the owner is an administrator.",
}
