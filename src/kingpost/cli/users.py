"""`kingpost users`: accounts, for those who have the machine."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kingpost.accounts.users.schemas import USER_SORT_FIELDS, UserBody, UserQuery
from kingpost.accounts.users.schemas import Role as RoleName
from kingpost.cli import output
from kingpost.cli.common import with_kingpost
from kingpost.http.app import pages
from kingpost.model import ADMIN, DEFAULT_ROLES, OPERATOR, Page, SortKey, Status, User
from kingpost.problems import InvalidRequest
from kingpost.storage.listing import Listing

if TYPE_CHECKING:
    from kingpost.accounts.administration import Administration
    from kingpost.main import Running

PAGE = 500
MOST_ROLES = 32
HEADINGS = ("id", "email", "roles", "status", "created at")

who_argument = click.argument("who")


class Role(click.ParamType[str]):
    """The name of a role, as the API takes it."""

    name = "role"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return msgspec.convert(value, RoleName)
        except msgspec.ValidationError:
            detail = "has a letter first, then letters, digits, _ and -, all lower case, 63 at most"
            self.fail(f"A role {detail}: {value!r} does not.", param, ctx)


def sort_keys(context: click.Context, parameter: click.Parameter, text: str) -> tuple[SortKey, ...]:
    """Read a sort order, as the API does."""
    try:
        return pages.sort_keys(msgspec.convert({"sort": text}, UserQuery).sort)
    except (msgspec.ValidationError, InvalidRequest):
        fields = ", ".join(sorted(USER_SORT_FIELDS))
        detail = f"Fields are {fields}, each once, separated by commas; - before one turns its order round."
        raise click.BadParameter(detail) from None


@click.group()
def users() -> None:
    """Administer accounts. WHO is an id or an e-mail address."""


@users.command("list")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="Only accounts with this status.")
@click.option("--role", type=Role(), help="Only accounts with this role.")
@click.option("--sort", default="-created_at", show_default=True, callback=sort_keys, help="As in the API.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many at most.")
@output.as_json
def list_users(status: Status | None, role: str | None, sort: tuple[SortKey, ...], limit: int, as_json: bool) -> None:
    """List accounts."""
    found, total = with_kingpost(lambda kingpost: _list(kingpost.accounts.administration, sort, limit, status, role))
    if as_json:
        output.echo_json({"items": _bodies(found), "total": total})
        return
    rows = [(user.id, user.email, ", ".join(user.roles), user.status, user.created_at) for user in found]
    output.echo_table(rows, *HEADINGS)
    if total > len(found):
        click.echo(f"{len(found)} of {total}: --limit shows more.", err=True)


@users.command()
@who_argument
@output.as_json
def show(who: str, as_json: bool) -> None:
    """Show an account."""
    user = _on(who, lambda administration, user: _itself(user))
    if as_json:
        output.echo_json(_bodies([user])[0])
    else:
        document = msgspec.json.decode(msgspec.json.encode(_bodies([user])[0]))
        output.echo_table([(name, _cell(value)) for name, value in document.items()], "account", "")


@users.command()
@click.argument("email")
@output.password_stdin
@click.option("--role", "roles", type=Role(), multiple=True, default=("user",), help="Once for each role.")
@output.as_json
def create(email: str, password_stdin: bool, roles: tuple[str, ...], as_json: bool) -> None:
    """Create an account."""
    user = _create(email, _distinct(roles))
    _tell(user, "has an account now", as_json)


@users.command("create-admin")
@click.argument("email")
@output.password_stdin
@output.as_json
def create_admin(email: str, password_stdin: bool, as_json: bool) -> None:
    """Create an account that may do everything."""
    user = _create(email, (*DEFAULT_ROLES, ADMIN))
    _tell(user, "is an administrator now", as_json)


@users.command()
@who_argument
@output.as_json
def suspend(who: str, as_json: bool) -> None:
    """Keep an account out, and end its sessions."""
    _tell(_on(who, lambda administration, user: administration.set_status(user, "suspended")), "is suspended", as_json)


@users.command()
@who_argument
@output.as_json
def activate(who: str, as_json: bool) -> None:
    """Let a suspended account in again."""
    _tell(_on(who, lambda administration, user: administration.set_status(user, "active")), "is active", as_json)


@users.command("set-roles")
@who_argument
@click.argument("roles", metavar="ROLE...", type=Role(), nargs=-1, required=True)
@output.as_json
def set_roles(who: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Give an account these roles and no others."""
    distinct = _distinct(roles)
    user = _on(who, lambda administration, user: administration.set_roles(user, distinct))
    _tell(user, f"has the roles {', '.join(user.roles)}", as_json)


@users.command("set-password")
@who_argument
@output.password_stdin
def set_password(who: str, password_stdin: bool) -> None:
    """Give an account another password, and end its sessions."""
    password = output.password()
    ended = _on(who, lambda administration, user: administration.set_password(user, password))
    output.echo(f"{output.printable(who)} has a new password. Sessions ended: {ended}.")


@users.command("end-sessions")
@who_argument
def end_sessions(who: str) -> None:
    """Sign an account out everywhere."""
    ended = _on(who, lambda administration, user: administration.end_sessions(user))
    output.echo(f"{output.printable(who)} is signed out. Sessions ended: {ended}.")


@users.command("disable-totp")
@who_argument
def disable_totp(who: str) -> None:
    """Remove an account's second factor, for one who has lost it: make sure first who is asking."""

    async def disable(kingpost: "Running") -> None:
        user = await kingpost.accounts.administration.find(who)
        await kingpost.auth.second_factors.remove(OPERATOR, user.id)

    with_kingpost(disable)
    output.echo(f"{output.printable(who)} signs in without a second factor now.")


@users.command()
@who_argument
@output.yes
def delete(who: str, yes: bool) -> None:
    """Delete an account with all that it owns."""
    asks = output.must_ask(yes)
    user = _on(who, lambda administration, user: _itself(user))
    if asks:
        output.ask(f"Delete {output.printable(user.email)} ({user.id}) with all that it owns?")
    with_kingpost(lambda kingpost: kingpost.accounts.administration.delete(user))
    output.echo(f"{output.printable(user.email)} ({user.id}) is deleted.")


def _on[T](who: str, work: "Callable[[Administration, User], Awaitable[T]]") -> T:
    """Do work on the account that is meant, and return its result."""

    async def find_and_work(administration: "Administration") -> T:
        return await work(administration, await administration.find(who))

    return with_kingpost(lambda kingpost: find_and_work(kingpost.accounts.administration))


async def _itself(user: User) -> User:
    return user


def _create(email: str, roles: tuple[str, ...]) -> User:
    password = output.password()
    return with_kingpost(lambda kingpost: kingpost.accounts.administration.create(email, password, roles))


async def _list(
    administration: "Administration",
    sort: tuple[SortKey, ...],
    limit: int,
    status: Status | None,
    role: str | None,
) -> tuple[list[User], int]:
    """The first accounts of a walk, and how many there are in all."""

    def part(size: int, page: Page[User] | None) -> Listing:
        return Listing(sort, min(size, PAGE), None if page is None else page.next, count=page is None)

    page = await administration.list(part(limit, None), status, role)
    found, total = list(page.items), page.total or 0
    while page.next is not None and len(found) < limit:
        page = await administration.list(part(limit - len(found), page), status, role)
        found += page.items
    return found, total


def _distinct(roles: tuple[str, ...]) -> tuple[str, ...]:
    distinct = tuple(dict.fromkeys(roles))
    if len(distinct) > MOST_ROLES:
        raise click.UsageError(f"An account has at most {MOST_ROLES} roles.")
    return distinct


def _tell(user: User, what: str, as_json: bool) -> None:
    """Print an account after a change: whole for scripts, as a sentence for people."""
    if as_json:
        output.echo_json(_bodies([user])[0])
    else:
        output.echo(f"{output.printable(user.email)} {what}, with the id {user.id}.")


def _bodies(users: Sequence[User]) -> Sequence[msgspec.Struct]:
    """Accounts as the API shows them."""
    return [UserBody.of(user) for user in users]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value is None or isinstance(value, str):
        return value or "-"
    return msgspec.json.encode(value).decode()
