"""Tags of the API documentation that several features share."""

from kingpost.http.app.router import Tag

USERS = Tag("Users", "Manage your own account. Administrators manage all accounts.", place=10)
SIGN_IN = Tag("Sign-in", "Log in, refresh tokens and manage sessions.", place=20)
RECOVERY = Tag("Recovery", "Verify an e-mail address and reset a password, both by mail.", place=30)
