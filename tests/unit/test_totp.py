"""TOTP codes, their secrets, and recovery codes."""

import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from kingpost.auth.second_factor import recovery_codes, totp
from kingpost.auth.second_factor.recovery_codes import RecoveryCodes
from kingpost.auth.second_factor.totp import STEP, TOTPSealer, UnreadableSecret, code_at, matching_step
from kingpost.secret import MasterSecret

RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
"""The ASCII text `12345678901234567890` of RFC 6238, appendix B, in base32."""
# The codes in the RFC have eight digits; a code of six digits is their end.
VECTORS = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}
AT = 1_795_000_000.5
NOW = int(AT) // STEP
ADA, BOB = "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6a", "019abc3e-5b7a-7c11-9d38-2f7c1c0e4f6b"
MASTER = MasterSecret("the master secret of the tests, long enough")

# --- codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "code"), VECTORS.items())
def test_the_vectors_of_the_rfc(seconds: int, code: str) -> None:
    assert code_at(RFC_SECRET, seconds // STEP) == code[-6:]
    assert matching_step(RFC_SECRET, code[-6:], seconds) == seconds // STEP


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_clock_may_be_one_step_fast_or_slow(off: int) -> None:
    secret = totp.new_secret()
    assert matching_step(secret, code_at(secret, NOW + off), AT) == NOW + off


@pytest.mark.parametrize("off", [-3, -2, 2, 3, 1000])
def test_codes_of_other_steps_are_wrong(off: int) -> None:
    assert matching_step(RFC_SECRET, code_at(RFC_SECRET, NOW + off), AT) is None


def test_a_step_lasts_thirty_seconds_and_its_code_is_valid_for_ninety() -> None:
    first, last = (NOW - 1) * STEP, (NOW + 2) * STEP - 0.001
    code = code_at(RFC_SECRET, NOW)
    assert [matching_step(RFC_SECRET, code, at) for at in (first, last)] == [NOW, NOW]
    assert [matching_step(RFC_SECRET, code, at) for at in (first - 0.001, last + 0.001)] == [None, None]


def test_a_code_may_have_spaces_as_apps_show_it() -> None:
    code = code_at(RFC_SECRET, NOW)
    for typed in (f"{code[:3]} {code[3:]}", f" {code}\n", f"{code[:3]}\u00a0{code[3:]}"):
        assert matching_step(RFC_SECRET, typed, AT) == NOW


def test_any_other_text_than_the_code_is_wrong() -> None:
    code = code_at(RFC_SECRET, NOW)
    arabic = code.translate({ord(str(digit)): 0x660 + digit for digit in range(10)})
    for typed in ("", " ", code[:5], code + "0", "0" + code, code[::-1] + "x", arabic, "é" * 6, "-" + code, "x" * 5000):
        assert matching_step(RFC_SECRET, typed, AT) is None


def test_another_secret_has_other_codes() -> None:
    codes = {code_at(totp.new_secret(), NOW) for _ in range(20)}
    assert len(codes) > 15


# --- secrets -------------------------------------------------------------------------------------


def test_secrets_are_160_random_bits_in_base32() -> None:
    secrets = {totp.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch("[A-Z2-7]{32}", secret) for secret in secrets)


@pytest.mark.parametrize("account", ["ada@example.com", "a+b/c?d&e=f@example.com", "ädä@bücher.example", "a:b@x"])
@pytest.mark.parametrize("issuer", ["api.example.com", "Kingpost", "::1"])
def test_the_uri_has_account_issuer_and_secret(account: str, issuer: str) -> None:
    uri = totp.provisioning_uri(RFC_SECRET, account, issuer)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("otpauth", "totp", "")
    label_issuer, _, label = parts.path[1:].partition(":")
    assert (unquote(label_issuer), unquote(label)) == (issuer, account)
    # Apps assume six digits, 30 seconds and SHA-1.
    assert parse_qs(parts.query) == {"secret": [RFC_SECRET], "issuer": [issuer]}


def test_a_sealed_secret_opens_for_its_account_and_reveals_nothing() -> None:
    sealer = TOTPSealer(MASTER)
    sealed = sealer.seal(ADA, RFC_SECRET)
    assert TOTPSealer(MasterSecret("the master secret of the tests, long enough")).open(ADA, sealed) == RFC_SECRET
    assert RFC_SECRET.encode() not in sealed
    assert sealer.seal(ADA, RFC_SECRET) != sealed


def test_a_changed_or_foreign_sealed_secret_does_not_open() -> None:
    sealer = TOTPSealer(MASTER)
    sealed = sealer.seal(ADA, RFC_SECRET)
    tampered = [
        sealed[:-1] + bytes([sealed[-1] ^ 1]),
        bytes([sealed[0] ^ 1]) + sealed[1:],
        sealed[:20],
        sealed[:5],
        b"",
    ]
    for user_id, text in [(BOB, sealed), *[(ADA, text) for text in tampered]]:
        with pytest.raises(UnreadableSecret) as raised:
            sealer.open(user_id, text)
        assert RFC_SECRET not in str(raised.value)
    with pytest.raises(UnreadableSecret):
        TOTPSealer(MasterSecret("another master secret, long enough")).open(ADA, sealed)


# --- recovery codes ------------------------------------------------------------------------------


def test_there_are_ten_readable_recovery_codes_of_120_bits() -> None:
    codes = [code for _ in range(100) for code in recovery_codes.new_codes()]
    assert len(set(codes)) == 1000
    group = "[0-9abcdefghjkmnpqrstvwxyz]{6}"
    assert all(re.fullmatch(f"{group}(-{group}){{3}}", code) for code in codes)
    assert len(set(recovery_codes.ALPHABET)) == 32
    assert set("".join(codes)) == {*recovery_codes.ALPHABET, "-"}


def test_a_recovery_code_may_be_typed_as_it_is_read() -> None:
    hashes = RecoveryCodes(MASTER)
    written = hashes.hash(ADA, "01abc-de1f0")
    for typed in ("01ABC-DE1F0", "01abcde1f0", " 01abc de1f0 ", "oiabc-delfO", "0-1-a-b-c-d-e-1-f-0", "OLABC\tDEIFO"):
        assert hashes.hash(ADA, typed) == written
    for typed in ("01abc-de1f1", "01abc-de1f", "01abc-de1f00", "", "01abc_de1f0"):
        assert hashes.hash(ADA, typed) != written


def test_a_hash_is_bound_to_the_account_and_to_the_master_secret() -> None:
    code = "01abc-de1f0"
    others = [RecoveryCodes(MASTER).hash(BOB, code), RecoveryCodes(MasterSecret("another secret")).hash(ADA, code)]
    assert RecoveryCodes(MASTER).hash(ADA, code) not in others
    assert len(RecoveryCodes(MASTER).hash(ADA, code)) == 32
