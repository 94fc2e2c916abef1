"""Section 4 of the contract: proof of ownership, and that a write rests on what was proved, on both databases."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import httpx
import pytest

from kingpost.auth.throttling.service import FREE_CODES
from tests.api.emails import NEW_PASSWORD, RESET, forgot, fresh_email, newest_token, reset
from tests.api.enrolling import TOTP, OtpClock, begin, enrol, entries_about, state_of, stopped_clock
from tests.api.machines import KEYS, list_keys
from tests.api.stack import PASSWORD, Caller, Stack, assert_problem, faults_of

WRONG = "wrong horse battery"


@pytest.fixture
def otp_clock(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> OtpClock:
    return stopped_clock(stack, monkeypatch)


class Proven(NamedTuple):
    """A request that needs proof: its method and path, its body without the proof, and the field of the password."""

    method: str
    path: str
    body: Callable[[], Mapping[str, Any]]
    password: str = "password"

    async def send(self, caller: Caller, password: str | None = PASSWORD, otp: str | None = None) -> httpx.Response:
        proof = {self.password: password, "otp": otp}
        given = {name: value for name, value in proof.items() if value is not None}
        path = f"/api/v1{self.path.format(id=caller.id)}"
        return await caller.http.request(self.method, path, json={**self.body(), **given})


PATCH_EMAIL = Proven("PATCH", "/users/{id}", lambda: {"email": fresh_email()}, "current_password")
PUT_EMAIL = Proven("PUT", "/users/{id}", lambda: {"email": fresh_email(), "name": "Ada"}, "current_password")
PUT_PASSWORD = Proven("PUT", "/users/{id}/password", lambda: {"new_password": NEW_PASSWORD}, "current_password")
MAKE_KEY = Proven("POST", "/api-keys", lambda: {"name": "x", "scopes": ["users:read"]})
ENROL = Proven("POST", "/auth/totp", dict)
DISABLE = Proven("DELETE", "/auth/totp", dict)
PROVEN = {
    "patch email": PATCH_EMAIL,
    "put email": PUT_EMAIL,
    "put password": PUT_PASSWORD,
    "make key": MAKE_KEY,
    "enrol": ENROL,
    "disable": DISABLE,
}
WITHOUT_FACTOR = {name: proven for name, proven in PROVEN.items() if proven is not DISABLE}


async def everything(stack: Stack, caller: Caller) -> list[Any]:
    """What a refused request must leave as it was."""
    rows = await stack.execute(f"SELECT email, password_hash, version FROM users WHERE id = '{caller.id}'")
    keys = await stack.execute(f"SELECT id FROM api_keys WHERE user_id = '{caller.id}'")
    factors = await stack.execute(f"SELECT sealed, confirmed_at FROM second_factors WHERE user_id = '{caller.id}'")
    return [[tuple(row) for row in table] for table in (rows, keys, factors)]


# --- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITHOUT_FACTOR)
async def test_the_password_is_required_and_must_be_right(stack: Stack, name: str) -> None:
    caller, proven = await stack.sign_up(), PROVEN[name]
    before = await everything(stack, caller)
    assert faults_of(await proven.send(caller, None)) == [f"/{proven.password}"]
    assert_problem(await proven.send(caller, WRONG), 403, "forbidden")
    assert await everything(stack, caller) == before
    # Without a second factor, a code is passed over.
    assert (await proven.send(caller, PASSWORD, "123456")).is_success
    assert await everything(stack, caller) != before


@pytest.mark.parametrize("name", PROVEN)
async def test_with_a_second_factor_a_code_is_required_too(stack: Stack, otp_clock: OtpClock, name: str) -> None:
    enrolled, proven = await enrol(stack, otp_clock), PROVEN[name]
    caller, before = enrolled.caller, await everything(stack, enrolled.caller)
    for otp in (None, "") if proven is not DISABLE else (None,):
        assert faults_of(await proven.send(caller, PASSWORD, otp)) == ["/otp"]
    assert_problem(await proven.send(caller, PASSWORD, otp_clock.wrong_code(enrolled.secret)), 403, "forbidden")
    # A wrong password uses up no code.
    right = otp_clock.code(enrolled.secret)
    assert_problem(await proven.send(caller, WRONG, right), 403, "forbidden")
    assert await everything(stack, caller) == before
    response = await proven.send(caller, PASSWORD, right)
    assert response.status_code == 409 if proven is ENROL else response.is_success, response.text


@pytest.mark.parametrize("name", PROVEN)
async def test_a_recovery_code_is_a_code_and_works_once(stack: Stack, otp_clock: OtpClock, name: str) -> None:
    enrolled, proven = await enrol(stack, otp_clock), PROVEN[name]
    response = await proven.send(enrolled.caller, PASSWORD, enrolled.codes[0])
    assert response.status_code == 409 if proven is ENROL else response.is_success, response.text
    if proven is not DISABLE:
        assert (await state_of(enrolled.caller))["recovery_codes_left"] == 9
        again = await MAKE_KEY.send(
            enrolled.caller, NEW_PASSWORD if proven is PUT_PASSWORD else PASSWORD, enrolled.codes[0]
        )
        assert_problem(again, 403, "forbidden")


async def test_codes_are_shared_with_logins_and_limited_with_them(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    for _ in range(FREE_CODES):
        wrong = await MAKE_KEY.send(enrolled.caller, PASSWORD, otp_clock.wrong_code(enrolled.secret))
        assert_problem(wrong, 403, "forbidden")
    refused = await PATCH_EMAIL.send(enrolled.caller, PASSWORD, otp_clock.code(enrolled.secret))
    assert_problem(refused, 429, "rate-limited")
    reasons = await entries_about(stack, enrolled.caller.id, "user.proof_refused")
    assert len(reasons) == FREE_CODES


async def test_all_faults_of_a_new_address_are_reported_together(stack: Stack, otp_clock: OtpClock) -> None:
    caller = (await enrol(stack, otp_clock)).caller
    response = await PATCH_EMAIL.send(caller, None)
    assert faults_of(response) == ["/current_password", "/otp"]
    body = {"current_password": PASSWORD, "new_password": f"x{caller.email.partition('@')[0]}"}
    response = await caller.http.put(f"/api/v1/users/{caller.id}/password", json=body)
    assert faults_of(response) == ["/new_password", "/otp"]


async def test_nothing_else_takes_proof(stack: Stack, otp_clock: OtpClock) -> None:
    caller = (await enrol(stack, otp_clock)).caller
    assert (await caller.http.patch(f"/api/v1/users/{caller.id}", json={"name": "Ada"})).is_success
    assert (await caller.http.put(f"/api/v1/users/{caller.id}", json={"email": caller.email})).is_success
    assert (await caller.http.delete("/api/v1/auth/sessions")).is_success
    assert (await caller.http.delete(f"/api/v1/users/{caller.id}")).is_success


# --- proof and write are one moment --------------------------------------------------------------


type Between = Callable[[Stack, Caller], Awaitable[None]]


async def reset_by_mail(stack: Stack, caller: Caller) -> None:
    await forgot(stack, caller.email)
    assert (await reset(stack, await newest_token(stack, caller.email, RESET))).status_code == 204


async def change_password(stack: Stack, caller: Caller) -> None:
    elsewhere = await stack.log_in(caller.email)
    assert (await PUT_PASSWORD.send(elsewhere)).status_code == 204


async def end_the_session(stack: Stack, caller: Caller) -> None:
    assert (await caller.http.post("/api/v1/auth/logout")).status_code == 204


async def enable_a_factor(stack: Stack, caller: Caller) -> None:
    elsewhere = await stack.log_in(caller.email)
    secret = await begin(elsewhere)
    otp = OtpClock(stack.kingpost.auth.codes._seconds()).code(secret)
    assert (await elsewhere.http.post(f"{TOTP}/confirm", json={"otp": otp})).status_code == 200


BETWEEN: Mapping[str, tuple[Between, int]] = {
    "a reset": (reset_by_mail, 403),
    "a change of password": (change_password, 403),
    "a logout": (end_the_session, 401),
    "a second factor": (enable_a_factor, 403),
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("name", WITHOUT_FACTOR)
async def test_what_came_between_proof_and_write_wins(
    stack: Stack, otp_clock: OtpClock, monkeypatch: pytest.MonkeyPatch, name: str, between: str
) -> None:
    caller, proven, (happen, status) = await stack.sign_up(), PROVEN[name], BETWEEN[between]
    if proven is ENROL and between == "a second factor":
        status = 409
    after: list[list[Any]] = []

    async def come_between() -> None:
        await happen(stack, caller)
        after.append(await everything(stack, caller))

    interrupt_after_proof(stack, monkeypatch, come_between)
    response = await proven.send(caller)
    assert response.status_code == status, response.text
    assert await everything(stack, caller) == after[0]


@pytest.mark.parametrize("between", ["a reset", "a logout"])
async def test_a_second_factor_stays_if_its_proof_was_lost(
    stack: Stack, otp_clock: OtpClock, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    admin = await stack.sign_up_admin()  # A verified address: a reset keeps the second factor.
    enrolled = await enrol(stack, otp_clock, admin)
    happen, status = BETWEEN[between]
    interrupt_after_proof(stack, monkeypatch, lambda: happen(stack, admin))
    response = await DISABLE.send(admin, PASSWORD, otp_clock.code(enrolled.secret))
    assert response.status_code == status
    assert await stack.execute(f"SELECT 1 FROM second_factors WHERE user_id = '{admin.id}'")


def interrupt_after_proof(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, come_between: Callable[[], Awaitable[None]]
) -> None:
    """Run something after the next proof, before its write."""
    reauthentication = stack.kingpost.auth.reauthentication
    prove = reauthentication.prove

    async def prove_slowly(*args: Any) -> Any:
        effects = await prove(*args)
        monkeypatch.setattr(reauthentication, "prove", prove)
        await come_between()
        return effects

    monkeypatch.setattr(reauthentication, "prove", prove_slowly)


async def test_an_administrator_who_was_demoted_meanwhile_changes_nobody(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, boss, user = await stack.sign_up_admin(), await stack.sign_up_admin(), await stack.sign_up()
    store = stack.kingpost.stores.users
    change = store.change

    async def change_slowly(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(store, "change", change)
        assert (await boss.http.patch(f"/api/v1/users/{admin.id}", json={"roles": ["user"]})).status_code == 200
        return await change(*args, **named)

    for target, body in ((admin, {"roles": ["user", "admin"]}), (user, {"email": fresh_email()})):
        assert (await boss.http.patch(f"/api/v1/users/{admin.id}", json={"roles": ["user", "admin"]})).is_success
        before = await everything(stack, target)
        monkeypatch.setattr(store, "change", change_slowly)
        response = await admin.http.patch(f"/api/v1/users/{target.id}", json=body | {"name": fresh_email()})
        assert_problem(response, 403, "forbidden")
        assert [row[0][:2] for row in (await everything(stack, target))[:1]] == [row[0][:2] for row in before[:1]]
    assert (await admin.http.get("/api/v1/users")).status_code == 403


async def test_one_of_five_changes_with_one_current_password_succeeds(stack: Stack, second_node: Stack) -> None:
    caller = await stack.sign_up()
    there = second_node.client(caller.access_token)
    path = f"/api/v1/users/{caller.id}/password"
    passwords = [f"{NEW_PASSWORD} {n}" for n in range(5)]
    bodies = [{"current_password": PASSWORD, "new_password": password} for password in passwords]
    sent = [(there if n % 2 else caller.http).put(path, json=body) for n, body in enumerate(bodies)]
    responses = await asyncio.gather(*sent)
    assert sorted(response.status_code for response in responses) == [204, 403, 403, 403, 403]
    for password, response in zip(passwords, responses, strict=True):
        login = {"email": caller.email, "password": password}
        status = (await stack.client().post("/api/v1/auth/login", json=login)).status_code
        assert status == (200 if response.status_code == 204 else 401)


async def test_changes_of_one_session_each_leave_one_session(stack: Stack) -> None:
    callers = [await stack.sign_up()]
    callers += [await stack.log_in(callers[0].email) for _ in range(4)]
    responses = await asyncio.gather(*[PUT_PASSWORD.send(caller) for caller in callers])
    statuses = sorted(response.status_code for response in responses)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {401, 403}
    assert sorted([(await caller.http.get("/api/v1/users/me")).status_code for caller in callers]) == [200] + 4 * [401]


async def test_resets_beside_changes_always_win(stack: Stack) -> None:
    for attempt in range(4):
        caller = await stack.sign_up()
        await forgot(stack, caller.email)
        token = await newest_token(stack, caller.email, RESET)
        requests = [PATCH_EMAIL.send(caller), MAKE_KEY.send(caller), ENROL.send(caller)]
        resetting = reset(stack, token, NEW_PASSWORD)
        order = [resetting, *requests] if attempt % 2 else [*requests, resetting]
        responses = await asyncio.gather(*order)
        outcome = responses[0] if attempt % 2 else responses[-1]
        (row,) = await stack.execute(f"SELECT email, email_verified FROM users WHERE id = '{caller.id}'")
        if outcome.status_code == 204:
            assert (row[0], bool(row[1])) == (caller.email, True)
        else:  # The new address came first, and revoked the link.
            assert faults_of(outcome) == ["/token"]
            assert row[0] != caller.email


async def test_a_patch_that_is_applied_again_uses_its_code_once(
    stack: Stack, otp_clock: OtpClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolled = await enrol(stack, otp_clock)
    caller = enrolled.caller

    async def rename() -> None:
        assert (await caller.http.patch(f"/api/v1/users/{caller.id}", json={"name": "Ada"})).status_code == 200

    interrupt_after_proof(stack, monkeypatch, rename)
    response = await PATCH_EMAIL.send(caller, PASSWORD, enrolled.codes[0])
    assert response.status_code == 200, response.text
    assert response.json()["name"] == "Ada"


async def test_a_proof_does_not_let_a_key_change_the_address_of_its_owner(stack: Stack) -> None:
    caller = await stack.sign_up()
    made = await caller.http.post(KEYS, json={"name": "x", "scopes": ["users:write"], "password": PASSWORD})
    machine = stack.client(made.json()["key"])
    body = {"email": fresh_email(), "current_password": PASSWORD}
    assert_problem(await machine.patch(f"/api/v1/users/{caller.id}", json=body), 403, "forbidden")
    assert len(await list_keys(caller)) == 1
