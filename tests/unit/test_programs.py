"""A missing program skips its tests on a developer's machine, and fails them in CI."""

import pytest

from tests.programs import FAIL_ON_SKIP, need


def test_an_installed_program_is_found() -> None:
    assert need("sh", "nobody needs to").endswith("/sh")


@pytest.mark.parametrize(("value", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_missing_program_is_reported_with_its_install_command(
    value: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAIL_ON_SKIP, value)
    with pytest.raises(outcome, match="no-such-program is not installed: apt install it"):
        need("no-such-program", "apt install it")
