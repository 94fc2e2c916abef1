"""Section 4 of the contract: enabling and disabling a second factor."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
import segno

from tests.api.enrolling import (
    CONFIRM,
    TOTP,
    OtpClock,
    begin,
    disable,
    enrol,
    entries_about,
    log_in,
    state_of,
    stopped_clock,
)
from tests.api.stack import ADDRESS, PASSWORD, UNKNOWN_ID, Caller, Serve, Stack, assert_problem, faults_of

SVG = "{http://www.w3.org/2000/svg}"
RECOVERY_CODE = re.compile("[0-9a-z]{6}(-[0-9a-z]{6}){3}")


@pytest.fixture
def otp_clock(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> OtpClock:
    return stopped_clock(stack, monkeypatch)


# --- enabling ------------------------------------------------------------------------------------


async def test_an_account_has_no_second_factor_at_first(alice: Caller) -> None:
    response = await alice.http.get(TOTP)
    assert response.json() == {"enabled": False, "recovery_codes_left": 0}
    assert response.headers["cache-control"].startswith("private")


async def test_a_second_factor_is_enabled_after_the_first_code(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    begun = await caller.http.post(TOTP, json={"password": PASSWORD})
    assert (begun.status_code, begun.headers["cache-control"]) == (200, "no-store")
    enrolment = begun.json()
    assert enrolment.keys() == {"secret", "uri", "qr_svg"}
    assert re.fullmatch("[A-Z2-7]{32}", enrolment["secret"])
    # Logins need no code before the second factor is confirmed.
    assert await state_of(caller) == {"enabled": False, "recovery_codes_left": 0}
    assert (await log_in(stack, caller)).status_code == 200
    confirmed = await caller.http.post(CONFIRM, json={"otp": otp_clock.code(enrolment["secret"])})
    assert (confirmed.status_code, confirmed.headers["cache-control"]) == (200, "no-store")
    assert confirmed.json().keys() == {"recovery_codes"}
    codes = confirmed.json()["recovery_codes"]
    assert len(set(codes)) == 10
    assert all(RECOVERY_CODE.fullmatch(code) for code in codes)
    assert await state_of(caller) == {"enabled": True, "recovery_codes_left": 10}
    assert_problem(await log_in(stack, caller), 401, "mfa-required")
    # The session that enabled the second factor stays valid.
    assert (await caller.http.get("/api/v1/users/me")).status_code == 200


async def test_the_uri_contains_the_server_and_the_account(stack: Stack, serve: Serve) -> None:
    caller = await stack.sign_up()
    enrolment = (await caller.http.post(TOTP, json={"password": PASSWORD})).json()
    account = quote(caller.email)
    assert enrolment["uri"] == f"otpauth://totp/Kingpost:{account}?secret={enrolment['secret']}&issuer=Kingpost"
    public = await serve(PUBLIC_URL="https://api.example.com:8443")
    enrolment = (await (await public.sign_up("ada@example.com")).http.post(TOTP, json={"password": PASSWORD})).json()
    start = "otpauth://totp/api.example.com:ada%40example.com"
    assert enrolment["uri"] == f"{start}?secret={enrolment['secret']}&issuer=api.example.com"


async def test_the_qr_code_is_an_svg_image_of_the_uri(stack: Stack) -> None:
    caller = await stack.sign_up()
    enrolment = (await caller.http.post(TOTP, json={"password": PASSWORD})).json()
    image = ElementTree.fromstring(enrolment["qr_svg"])
    assert image.tag == f"{SVG}svg"
    (modules,) = [path for path in image.iter(f"{SVG}path") if path.get("class") == "qrline"]
    expected = segno.make_qr(enrolment["uri"], error="m")
    border = 4
    dark = {
        (x + border, y + border) for y, row in enumerate(expected.matrix) for x, is_dark in enumerate(row) if is_dark
    }
    assert set(dark_modules(modules.attrib["d"])) == dark
    (background,) = [path for path in image.iter(f"{SVG}path") if path.get("fill") == "#fff"]
    assert background is not None


def dark_modules(path: str) -> Iterator[tuple[int, int]]:
    """The modules that the lines of an SVG path cover. Each line is as thick as a module and runs along its middle."""
    x = y = 0.0
    for command, arguments in re.findall(r"([Mmh])([^Mmh]*)", path):
        numbers = [float(number) for number in re.findall(r"-?[0-9]*\.?[0-9]+", arguments)]
        if command == "h":
            for column in range(int(x), int(x + numbers[0])):
                yield column, int(y)
            x += numbers[0]
        else:
            x, y = (numbers[0], numbers[1]) if command == "M" else (x + numbers[0], y + numbers[1])


@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_the_clock_of_the_app_may_be_one_step_off(stack: Stack, otp_clock: OtpClock, off: int) -> None:
    caller = await stack.sign_up()
    secret = await begin(caller)
    assert (await caller.http.post(CONFIRM, json={"otp": otp_clock.code(secret, off)})).status_code == 200
    otp_clock.advance(3)
    assert (await log_in(stack, caller, otp_clock.code(secret, off))).status_code == 200


async def test_a_wrong_first_code_is_reported_and_enables_nothing(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    secret = await begin(caller)
    for otp in (otp_clock.wrong_code(secret), otp_clock.code(secret, 2), "", "x"):
        response = await caller.http.post(CONFIRM, json={"otp": otp})
        assert faults_of(response) == ["/otp"]
        assert response.json()["errors"][0]["code"] == "otp"
        assert otp == "" or otp not in response.text.replace(response.json()["request_id"], "")
    for body in ({}, {"otp": 123456}, {"otp": None}, {"otp": "0" * 65}):
        assert faults_of(await caller.http.post(CONFIRM, json=body)) == ["/otp"]
    assert not (await state_of(caller))["enabled"]
    assert (await caller.http.post(CONFIRM, json={"otp": otp_clock.code(secret)})).status_code == 200


async def test_enrolment_requires_the_password_even_right_after_the_login(stack: Stack) -> None:
    caller = await stack.sign_up()
    assert faults_of(await caller.http.post(TOTP, json={})) == ["/password"]
    assert faults_of(await caller.http.post(TOTP)) == ["/password"]
    assert_problem(await caller.http.post(TOTP, json={"password": "wrong horse battery"}), 403, "forbidden")
    assert (await caller.http.post(TOTP, json={"password": PASSWORD})).status_code == 200


async def test_confirming_without_a_pending_enrolment_is_a_conflict(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    assert_problem(await caller.http.post(CONFIRM, json={"otp": "123456"}), 409, "conflict")
    enrolled = await enrol(stack, otp_clock, caller)
    again = await caller.http.post(CONFIRM, json={"otp": otp_clock.code(enrolled.secret)})
    assert_problem(again, 409, "conflict")
    assert (await state_of(caller))["recovery_codes_left"] == 10


async def test_a_new_enrolment_replaces_an_unconfirmed_one(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    first, second = [await begin(caller) for _ in range(2)]
    assert first != second
    assert faults_of(await caller.http.post(CONFIRM, json={"otp": otp_clock.code(first)})) == ["/otp"]
    assert (await caller.http.post(CONFIRM, json={"otp": otp_clock.code(second)})).status_code == 200


async def test_an_account_with_a_second_factor_cannot_enrol_another(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    body = {"password": PASSWORD, "otp": enrolled.codes[0]}
    assert_problem(await enrolled.caller.http.post(TOTP, json=body), 409, "conflict")
    assert (await log_in(stack, enrolled.caller, otp_clock.code(enrolled.secret))).status_code == 200


async def test_exactly_one_of_many_concurrent_confirmations_gets_the_recovery_codes(
    stack: Stack, otp_clock: OtpClock
) -> None:
    caller = await stack.sign_up()
    secret = await begin(caller)
    body = {"otp": otp_clock.code(secret)}
    responses = await asyncio.gather(*[caller.http.post(CONFIRM, json=body) for _ in range(5)])
    assert sorted(response.status_code for response in responses) == [200, 409, 409, 409, 409]
    (winner,) = [response for response in responses if response.status_code == 200]
    assert (await log_in(stack, caller, winner.json()["recovery_codes"][0])).status_code == 200


# --- disabling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["app", "recovery code"])
async def test_a_second_factor_is_disabled_with_password_and_code(stack: Stack, otp_clock: OtpClock, by: str) -> None:
    enrolled = await enrol(stack, otp_clock)
    caller = enrolled.caller
    response = await disable(caller, otp_clock.code(enrolled.secret) if by == "app" else enrolled.codes[3])
    assert (response.status_code, response.content) == (204, b"")
    assert await state_of(caller) == {"enabled": False, "recovery_codes_left": 0}
    assert (await log_in(stack, caller)).status_code == 200
    assert_problem(await disable(caller, enrolled.codes[4]), 404, "not-found")
    # A new second factor can be enabled, with a new secret and new codes.
    again = await enrol(stack, otp_clock, caller)
    assert again.secret != enrolled.secret
    assert_problem(await log_in(stack, caller, enrolled.codes[5]), 401, "invalid-credentials")
    assert (await log_in(stack, caller, otp_clock.code(again.secret))).status_code == 200


async def test_an_access_token_alone_cannot_disable_a_second_factor(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    caller, otp = enrolled.caller, otp_clock.code(enrolled.secret)
    assert_problem(await disable(caller, otp, "a guessed password"), 403, "forbidden")
    assert_problem(await disable(caller, otp_clock.wrong_code(enrolled.secret)), 403, "forbidden")
    assert faults_of(await caller.http.request("DELETE", TOTP, json={"otp": otp})) == ["/password"]
    assert faults_of(await caller.http.request("DELETE", TOTP, json={"password": PASSWORD})) == ["/otp"]
    assert sorted(faults_of(await caller.http.delete(TOTP))) == ["/otp", "/password"]
    assert_problem(await caller.http.delete(f"/api/v1/users/{caller.id}/totp"), 403, "forbidden")
    assert faults_of(await caller.http.post(TOTP, json={"password": PASSWORD})) == ["/otp"]
    assert await state_of(caller) == {"enabled": True, "recovery_codes_left": 10}
    # A code that has been used to log in disables nothing either.
    assert (await log_in(stack, caller, otp)).status_code == 200
    assert_problem(await disable(caller, otp), 403, "forbidden")


async def test_an_unconfirmed_second_factor_cannot_be_disabled(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    secret = await begin(caller)
    assert_problem(await disable(caller, otp_clock.code(secret)), 404, "not-found")


async def test_an_administrator_can_remove_the_second_factor_of_another_account(
    stack: Stack, otp_clock: OtpClock, admin: Caller
) -> None:
    enrolled = await enrol(stack, otp_clock)
    caller = enrolled.caller
    path = f"/api/v1/users/{caller.id}/totp"
    response = await admin.http.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert await state_of(caller) == {"enabled": False, "recovery_codes_left": 0}
    assert (await log_in(stack, caller)).status_code == 200
    assert_problem(await admin.http.delete(path), 404, "not-found")
    assert_problem(await admin.http.delete(f"/api/v1/users/{UNKNOWN_ID}/totp"), 404, "not-found")
    entry = (await entries_about(stack, caller.id))[-1]
    assert (entry.action, entry.actor_type, entry.actor_id) == ("second_factor.disabled", "user", admin.id)


async def test_other_users_cannot_remove_a_second_factor_and_administrators_cannot_remove_their_own(
    stack: Stack, otp_clock: OtpClock, alice: Caller
) -> None:
    enrolled = await enrol(stack, otp_clock)
    assert_problem(await alice.http.delete(f"/api/v1/users/{enrolled.caller.id}/totp"), 403, "forbidden")
    # The access token of an administrator may be stolen as well.
    root = await enrol(stack, otp_clock, await stack.sign_up_admin())
    assert_problem(await root.caller.http.delete(f"/api/v1/users/{root.caller.id}/totp"), 403, "forbidden")
    for account in (enrolled, root):
        assert (await state_of(account.caller))["enabled"]


async def test_an_account_with_a_second_factor_can_be_deleted(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    response = await enrolled.caller.http.delete(f"/api/v1/users/{enrolled.caller.id}")
    assert response.status_code == 204
    for table in ("second_factors", "recovery_codes"):
        assert not await stack.execute(f"SELECT 1 FROM {table} WHERE user_id = '{enrolled.caller.id}'")


# --- notifications, audit entries and stored data ------------------------------------------------


async def test_each_change_is_notified_by_mail_and_audited(stack: Stack, otp_clock: OtpClock) -> None:
    caller = await stack.sign_up()
    await begin(caller)
    assert await entries_about(stack, caller.id) == []
    enrolled = await enrol(stack, otp_clock, caller)
    await log_in(stack, caller, enrolled.codes[0])
    await disable(caller, enrolled.codes[1])
    entries = [(entry.action, entry.actor_type, entry.actor_id) for entry in await entries_about(stack, caller.id)]
    assert entries == [
        ("second_factor.enabled", "user", caller.id),
        ("second_factor.recovery_code_used", "anonymous", None),
        ("second_factor.recovery_code_used", "user", caller.id),
        ("second_factor.disabled", "user", caller.id),
    ]
    assert {(entry.address, entry.target_type) for entry in await entries_about(stack, caller.id)} == {
        (ADDRESS, "user")
    }
    enabled, disabled = [str(message["Subject"]) for message in await stack.mails(caller.email)][-2:]
    assert "Your second factor was enabled" in enabled
    assert "Your second factor was disabled" in disabled


async def test_secrets_and_codes_are_not_stored_in_plain_text(stack: Stack, otp_clock: OtpClock) -> None:
    enrolled = await enrol(stack, otp_clock)
    used = otp_clock.code(enrolled.secret)
    await log_in(stack, enrolled.caller, used)
    await log_in(stack, enrolled.caller, enrolled.codes[0])
    rows: list[Any] = []
    for table in ("second_factors", "recovery_codes", "sessions", "jobs", "audit"):
        rows += await stack.execute(f"SELECT * FROM {table}")
    stored = b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for row in rows for value in tuple(row)
    )
    assert enrolled.caller.id.encode() in stored
    for text in (enrolled.secret, *enrolled.codes, *[code.replace("-", "") for code in enrolled.codes]):
        assert text.encode() not in stored
