"""The scopes of API keys."""

from collections.abc import Mapping
from typing import Literal, get_args

type Scope = Literal["users:read", "users:write", "resources:read", "resources:write", "audit:read"]

SCOPES: tuple[Scope, ...] = get_args(Scope.__value__)

EXPLANATIONS: Mapping[Scope, str] = {
    "users:read": "Read the owner's account, or all accounts if the owner is an administrator.",
    "users:write": "Change and delete these accounts, and create accounts if the owner is an administrator.",
    "resources:read": "Read the resources that the owner may read.",
    "resources:write": "Create, change and delete the resources that the owner may change.",
    "audit:read": "Read the audit log, if the owner is an administrator.",
}
