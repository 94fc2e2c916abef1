"""Groups of the documentation in which operations of several rooms are shown."""

from kingpost.http.app.router import Tag

USERS = Tag("Users", "Accounts: your own, and for administrators all of them.", place=10)
SIGN_IN = Tag("Sign-in", "Tokens and the sessions behind them.", place=20)
RECOVERY = Tag("Recovery", "Proving an address, and getting back in without the password: both by mail.", place=30)
