"""What an API key may be allowed to do."""

from collections.abc import Mapping
from typing import Literal, get_args

type Scope = Literal["users:read", "users:write", "resources:read", "resources:write", "audit:read"]

SCOPES: tuple[Scope, ...] = get_args(Scope.__value__)

EXPLANATIONS: Mapping[Scope, str] = {
    "users:read": "Read accounts: the key owner's own, or all where the owner is an administrator.",
    "users:write": "Change and delete them; as an administrator create them, too.",
    "resources:read": "Read the resources that the owner may read.",
    "resources:write": "Create, change and delete those that the owner may.",
    "audit:read": "Read the audit log, where the owner is an administrator.",
}
