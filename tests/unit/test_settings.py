"""The configuration: every setting refuses invalid values, and no secret is shown."""

from pathlib import Path
from typing import Any

import pytest

from kingpost.settings import SETTINGS, InvalidSettings, Settings, load, masked, unknown_variables

# For each setting, a refused value and the message about allowed values.
REFUSED = {
    "environment": ("staging", "must be development or production"),
    "database_url": ("mysql://localhost/kingpost", "must be sqlite:///FILE or postgresql://…"),
    "valkey_url": ("http://localhost", "must be redis://host:port/number, or rediss:// for TLS"),
    "rate_limit_login": ("ten a minute", "must be a rate such as 10/minute (or second, or hour), or off"),
    "secret": ("", "must be a non-empty string"),
    "public_url": ("api.example.com", "must be an origin such as https://api.example.com"),
    "trusted_proxies": ("10.0.0.0/33", "must contain IP addresses or networks such as 10.0.0.0/8, not '10.0.0.0/33'"),
    "tls_cert": ("", "must be a non-empty string"),
    "tls_key": ("", "must be a non-empty string"),
    "cors_origins": ("*", "must be an origin such as https://api.example.com"),
    "signup": ("invited", "must be open or verified or closed"),
    "body_limit": ("1023", "must be 1024 or more"),
    "json_depth": ("201", "must be from 1 to 200"),
    "json_keys": ("many", "must be a number"),
    "header_limit": ("16 KiB", "must be a number"),
    "drain_seconds": ("inf", "must be 0 or more"),
    "key_rotation_days": ("-1", "must be 0 or more"),
    "mail_url": ("http://localhost", "must be smtp://user:password@host:port, smtps://… or file:DIRECTORY"),
    "mail_from": (
        "nobody",
        "must be an address such as no-reply@example.com, or Example <no-reply@example.com>",
    ),
    "mail_templates": ("", "must be a non-empty string"),
}
EVERY_SETTING = pytest.mark.parametrize("name", SETTINGS)


def configured(directory: Path, **variables: str) -> Settings:
    return load({f"KINGPOST_{name}": value for name, value in variables.items()}, directory)


def faults(directory: Path, **variables: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        configured(directory, **variables)
    return caught.value.faults


@EVERY_SETTING
def test_every_setting_refuses_an_invalid_value_and_says_what_is_allowed(tmp_path: Path, name: str) -> None:
    value, allowed = REFUSED[name]
    assert f"KINGPOST_{name.upper()} {allowed}." in faults(tmp_path, **{name.upper(): value})
    (tmp_path / "kingpost.toml").write_text(f'{name} = "{value}"\n')
    assert f"kingpost.toml: {name} {allowed}." in faults(tmp_path)


@EVERY_SETTING
@pytest.mark.parametrize("value", ["{}", "1979-05-27", "[1]"])
def test_every_setting_refuses_other_toml_types(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "kingpost.toml").write_text(f"{name} = {value}\n")
    (fault, *_) = faults(tmp_path)
    assert fault.startswith(f"kingpost.toml: {name} must ")


@pytest.mark.parametrize("name", ["database_url", "valkey_url", "public_url", "cors_origins", "mail_url"])
@pytest.mark.parametrize("host", ["[::1", "[x]"])
def test_a_url_with_an_invalid_host_is_refused(tmp_path: Path, name: str, host: str) -> None:
    scheme = {"database_url": "postgresql", "valkey_url": "redis", "mail_url": "smtp"}.get(name, "https")
    _, allowed = REFUSED[name]
    assert faults(tmp_path, **{name.upper(): f"{scheme}://{host}"}) == [f"KINGPOST_{name.upper()} {allowed}."]


@pytest.mark.parametrize("value", ["inf", "nan", "true", '"1e3"'])
def test_a_size_that_is_not_a_whole_number_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "kingpost.toml").write_text(f"body_limit = {value}\n")
    assert faults(tmp_path)[0].startswith("kingpost.toml: body_limit must be ")


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    reported = faults(tmp_path, **{name.upper(): value for name, (value, _) in REFUSED.items()})
    expected = [f"KINGPOST_{name.upper()} {allowed}." for name, (_, allowed) in REFUSED.items()]
    assert sorted(reported) == sorted(expected)


def test_variables_override_the_file_and_the_file_overrides_defaults(tmp_path: Path) -> None:
    (tmp_path / "kingpost.toml").write_text("json_depth = 8\njson_keys = 100\n")
    settings = configured(tmp_path, JSON_KEYS="200")
    assert (settings.json_depth, settings.json_keys, settings.body_limit) == (8, 200, 1024 * 1024)


def test_an_unknown_setting_in_the_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "kingpost.toml").write_text("databse_url = 'x'\nhost = '0.0.0.0'\n")
    assert faults(tmp_path) == [f"kingpost.toml: {name} is an unknown setting." for name in ("databse_url", "host")]


def test_unknown_variables_are_found() -> None:
    known = {f"KINGPOST_{name.upper()}": "" for name in SETTINGS}
    other = {"KINGPOST_DATABSE_URL": "", "KINGPOST_": "", "PATH": ""}
    assert unknown_variables(known | other) == ["KINGPOST_", "KINGPOST_DATABSE_URL"]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("secret", "hunter2", "***"),
        ("database_url", "postgresql://ada:hunter2@db:5432/kingpost", "postgresql://ada:***@db:5432/kingpost"),
        (
            "database_url",
            "postgresql://db/kingpost?user=ada&password=hunter2",
            "postgresql://db/kingpost?user=ada&password=***",
        ),
        ("valkey_url", "rediss://hunter2@valkey:6380/1", "rediss://***@valkey:6380/1"),
        ("valkey_url", "redis://:hunter2@valkey", "redis://***@valkey"),
        ("mail_url", "smtp://hunter2:hunter2@mail:587", "smtp://***@mail:587"),
        ("rate_limit_login", "off", "off"),
        ("rate_limit_login", "5/hour", "5/hour"),
        ("cors_origins", "https://b.example,https://a.example", ["https://a.example", "https://b.example"]),
    ],
)
def test_settings_are_shown_without_secrets(tmp_path: Path, name: str, value: str, shown: Any) -> None:
    assert masked(configured(tmp_path, **{name.upper(): value}))[name] == shown
