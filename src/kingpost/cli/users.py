"""`kingpost users`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kingpost.accounts.users.schemas import USER_SORT_FIELDS, UserBody, UserQuery
from kingpost.accounts.users.schemas import Role as RoleName
from kingpost.cli import output
from kingpost.cli.common import printable, with_kingpost
from kingpost.http.app import pages
from kingpost.model import ADMIN, DEFAULT_ROLES, OPERATOR, Page, SortKey, Status, User
from kingpost.problems import InvalidRequest
from kingpost.storage.listing import Listing

if TYPE_CHECKING:
    from kingpost.accounts.administration import Administration
    from kingpost.main import Running

PAGE_SIZE = 500
MAX_ROLES = 32
HEADINGS = ("id", "email", "roles", "status", "created at")

account_argument = click.argument("account")


class Role(click.ParamType[str]):
    """The name of a role, with the syntax that the API accepts."""

    name = "role"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return msgspec.convert(value, RoleName)
        except msgspec.ValidationError:
            syntax = "a lower-case letter, then at most 62 lower-case letters, digits, _ and -"
            self.fail(f"{value!r} is not a role: write {syntax}.", param, ctx)


def sort_keys(context: click.Context, parameter: click.Parameter, text: str) -> tuple[SortKey, ...]:
    """Return the sort order that a text describes, with the syntax that the API accepts."""
    try:
        return pages.sort_keys(msgspec.convert({"sort": text}, UserQuery).sort)
    except (msgspec.ValidationError, InvalidRequest):
        fields = ", ".join(sorted(USER_SORT_FIELDS))
        detail = f"Name some of {fields}, each once, separated by commas; - before a field reverses its order."
        raise click.BadParameter(detail) from None


@click.group()
def users() -> None:
    """Manage accounts.

    ACCOUNT is the id or the e-mail address of an account.
    """


@users.command("list")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="List only accounts with this status.")
@click.option("--role", type=Role(), help="List only accounts with this role.")
@click.option(
    "--sort", default="-created_at", show_default=True, callback=sort_keys, help="Sort by fields, separated by commas."
)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="List at most this many.")
@output.as_json
def list_users(status: Status | None, role: str | None, sort: tuple[SortKey, ...], limit: int, as_json: bool) -> None:
    """List accounts."""
    found, total = with_kingpost(lambda kingpost: _list(kingpost.accounts.administration, sort, limit, status, role))
    if as_json:
        output.echo_json({"items": [UserBody.of(user) for user in found], "total": total})
        return
    rows = [(user.id, user.email, ", ".join(user.roles), user.status, user.created_at) for user in found]
    output.echo_table(rows, *HEADINGS)
    if total > len(found):
        click.echo(f"Listed {len(found)} of {total} accounts. List more with --limit.", err=True)


@users.command()
@account_argument
@output.as_json
def show(account: str, as_json: bool) -> None:
    """Show an account."""
    user = _find(account)
    if as_json:
        output.echo_json(UserBody.of(user))
    else:
        document = msgspec.json.decode(msgspec.json.encode(UserBody.of(user)))
        output.echo_table([(name, _cell(value)) for name, value in document.items()], "account", "")


@users.command()
@click.argument("email")
@output.password_stdin
@click.option(
    "--role", "roles", type=Role(), multiple=True, default=("user",), help="Assign this role. Repeat for several."
)
@output.as_json
def create(email: str, password_stdin: bool, roles: tuple[str, ...], as_json: bool) -> None:
    """Create an account with a verified address."""
    user = _create(email, _distinct(roles))
    _report(user, "has an account", as_json)


@users.command("create-admin")
@click.argument("email")
@output.password_stdin
@output.as_json
def create_admin(email: str, password_stdin: bool, as_json: bool) -> None:
    """Create the account of an administrator."""
    user = _create(email, (*DEFAULT_ROLES, ADMIN))
    _report(user, "is an administrator", as_json)


@users.command()
@account_argument
@output.as_json
def suspend(account: str, as_json: bool) -> None:
    """Suspend an account and end its sessions."""
    user = _administer(account, lambda administration, user: administration.set_status(user, "suspended"))
    _report(user, "is suspended", as_json)


@users.command()
@account_argument
@output.as_json
def activate(account: str, as_json: bool) -> None:
    """Reactivate a suspended account."""
    user = _administer(account, lambda administration, user: administration.set_status(user, "active"))
    _report(user, "is active", as_json)


@users.command("set-roles")
@account_argument
@click.argument("roles", metavar="ROLE...", type=Role(), nargs=-1, required=True)
@output.as_json
def set_roles(account: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Replace the roles of an account."""
    distinct = _distinct(roles)
    user = _administer(account, lambda administration, user: administration.set_roles(user, distinct))
    _report(user, f"has the roles {', '.join(user.roles)}", as_json)


@users.command("set-password")
@account_argument
@output.password_stdin
def set_password(account: str, password_stdin: bool) -> None:
    """Set the password of an account and end its sessions."""
    password = output.password()
    ended = _administer(account, lambda administration, user: administration.set_password(user, password))
    output.echo(f"{printable(account)} has a new password. Sessions ended: {ended}.")


@users.command("end-sessions")
@account_argument
def end_sessions(account: str) -> None:
    """End all sessions of an account."""
    ended = _administer(account, lambda administration, user: administration.end_sessions(user))
    output.echo(f"{printable(account)} is signed out. Sessions ended: {ended}.")


@users.command("disable-totp")
@account_argument
def disable_totp(account: str) -> None:
    """Remove the second factor of an account.

    Use this when the owner has lost it. Verify the owner's identity first.
    """

    async def disable(kingpost: "Running") -> None:
        user = await kingpost.accounts.administration.find(account)
        await kingpost.auth.second_factors.remove(OPERATOR, user.id)

    with_kingpost(disable)
    output.echo(f"{printable(account)} has no second factor any more.")


@users.command()
@account_argument
@output.yes
def delete(account: str, yes: bool) -> None:
    """Delete an account and everything it owns."""
    is_interactive = output.needs_confirmation(yes)
    user = _find(account)
    if is_interactive:
        output.confirm(f"Delete {printable(user.email)} ({user.id}) and everything it owns?")
    with_kingpost(lambda kingpost: kingpost.accounts.administration.delete(user))
    output.echo(f"{printable(user.email)} ({user.id}) is deleted.")


def _find(account: str) -> User:
    return with_kingpost(lambda kingpost: kingpost.accounts.administration.find(account))


def _administer[T](account: str, action: "Callable[[Administration, User], Awaitable[T]]") -> T:
    """Find an account, perform an action on it, and return the result of the action."""

    async def find_and_act(kingpost: "Running") -> T:
        administration = kingpost.accounts.administration
        return await action(administration, await administration.find(account))

    return with_kingpost(find_and_act)


def _create(email: str, roles: tuple[str, ...]) -> User:
    password = output.password()
    return with_kingpost(lambda kingpost: kingpost.accounts.administration.create(email, password, roles))


async def _list(
    administration: "Administration", sort: tuple[SortKey, ...], limit: int, status: Status | None, role: str | None
) -> tuple[list[User], int]:
    """Return the first `limit` accounts, and the number of all accounts that match."""

    def listing(size: int, previous: Page[User] | None) -> Listing:
        after = None if previous is None else previous.next
        return Listing(sort, min(size, PAGE_SIZE), after, count=previous is None)

    page = await administration.list(listing(limit, None), status, role)
    found, total = list(page.items), page.total or 0
    while page.next is not None and len(found) < limit:
        page = await administration.list(listing(limit - len(found), page), status, role)
        found += page.items
    return found, total


def _distinct(roles: tuple[str, ...]) -> tuple[str, ...]:
    """Return roles without repetitions.

    Raises:
        UsageError: there are more than `MAX_ROLES`.
    """
    distinct = tuple(dict.fromkeys(roles))
    if len(distinct) > MAX_ROLES:
        raise click.UsageError(f"An account has at most {MAX_ROLES} roles.")
    return distinct


def _report(user: User, change: str, as_json: bool) -> None:
    """Print an account after a change: the account as JSON, or the change as a sentence."""
    if as_json:
        output.echo_json(UserBody.of(user))
    else:
        output.echo(f"{printable(user.email)} {change}. Id: {user.id}.")


def _cell(value: Any) -> str:
    """Return the text of a table cell for a JSON value."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value is None or isinstance(value, str):
        return value or "-"
    return msgspec.json.encode(value).decode()
