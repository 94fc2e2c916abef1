"""The master secret: one per installation, written atomically, and never shown."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kingpost.secret import BrokenSeal, MasterSecret, SecretFileError, load_or_create


def test_keys_depend_on_their_purpose() -> None:
    secret = MasterSecret("correct horse battery staple")
    keys = {secret.derive(purpose) for purpose in ("signing-keys", "cursors", "refresh-tokens/tag")}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}


def test_keys_are_the_same_on_every_node_and_in_every_version() -> None:
    """If this value changes, no installation can open its own signing keys."""
    key = MasterSecret("secret").derive("signing-keys")
    assert key.hex() == "7731a5c44f60340534dd795703da0bf9a65310496a57aba62554e405ee43efe1"


def test_another_secret_gives_other_keys() -> None:
    assert MasterSecret("a").derive("cursors") != MasterSecret("b").derive("cursors")


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        MasterSecret("")


def test_a_secret_can_have_any_bytes_of_the_environment() -> None:
    assert len(MasterSecret(os.fsdecode(b"\xff\xfe")).derive("cursors")) == 32


def test_repr_does_not_show_the_secret() -> None:
    assert "hidden" not in f"{MasterSecret('hidden')} {MasterSecret('hidden')!r}"


# --- sealed values ---------------------------------------------------------------------------------


def test_a_sealed_value_opens_on_every_node() -> None:
    sealed = MasterSecret("secret").sealer("jobs").seal("context", b"value")
    assert MasterSecret("secret").sealer("jobs").open("context", sealed) == b"value"


def test_a_sealed_value_is_a_nonce_and_a_ciphertext() -> None:
    sealed = MasterSecret("secret").sealer("jobs").seal("Kontext ä", b"value")
    assert len(sealed) == 12 + len(b"value") + 16
    cipher = AESGCM(MasterSecret("secret").derive("jobs"))
    assert cipher.decrypt(sealed[:12], sealed[12:], "Kontext ä".encode()) == b"value"


def test_every_value_has_its_own_nonce() -> None:
    sealer = MasterSecret("secret").sealer("jobs")
    assert len({sealer.seal("context", b"value")[:12] for _ in range(100)}) == 100


def test_a_sealed_value_does_not_open_with_another_secret_purpose_or_context() -> None:
    sealed = MasterSecret("secret").sealer("jobs").seal("context", b"value")
    for secret, purpose, context in (
        ("another secret", "jobs", "context"),
        ("secret", "second-factors", "context"),
        ("secret", "jobs", "another context"),
        ("secret", "jobs", ""),
    ):
        with pytest.raises(BrokenSeal):
            MasterSecret(secret).sealer(purpose).open(context, sealed)


def test_a_changed_or_truncated_value_does_not_open() -> None:
    sealer = MasterSecret("secret").sealer("jobs")
    sealed = sealer.seal("context", b"value")
    for place in range(len(sealed)):
        flipped = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        for changed in (flipped, sealed[:place], sealed[place + 1 :]):
            with pytest.raises(BrokenSeal):
                sealer.open("context", changed)
    with pytest.raises(BrokenSeal):
        sealer.open("context", sealed + b"\0")


# --- the file --------------------------------------------------------------------------------------


def test_the_file_is_created_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "kingpost.secret"
    secret = load_or_create(path)
    assert len(secret) >= 43
    assert load_or_create(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["kingpost.secret"]


def test_every_installation_gets_its_own_secret(tmp_path: Path) -> None:
    assert load_or_create(tmp_path / "a") != load_or_create(tmp_path / "b")


def test_white_space_around_the_secret_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "kingpost.secret"
    path.write_text("  by hand \r\n")
    assert load_or_create(path) == "by hand"


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "text")])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "kingpost.secret"
    path.write_bytes(content)
    with pytest.raises(SecretFileError, match=reason):
        load_or_create(path)
    assert path.read_bytes() == content


def test_a_directory_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match=r"cannot be used: Is a directory\.$"):
        load_or_create(tmp_path)


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="No such file or directory"):
        load_or_create(tmp_path / "missing" / "kingpost.secret")


def test_a_broken_symlink_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "kingpost.secret"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SecretFileError, match="No such file or directory"):
        load_or_create(path)
    assert os.listdir(tmp_path) == ["kingpost.secret"]


def test_a_process_uses_the_secret_that_another_created_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process creates its file between our check and our link."""
    path = tmp_path / "kingpost.secret"
    link = os.link

    def overtaken(source: Path, target: Path) -> None:
        path.write_text("theirs\n")
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert load_or_create(path) == "theirs"
    assert os.listdir(tmp_path) == ["kingpost.secret"]


def test_processes_that_start_concurrently_share_one_secret(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kingpost.secret import load_or_create;"
        "print('ready', flush=True); sys.stdin.readline(); print(load_or_create(Path(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "kingpost.secret")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    secrets = {process.communicate()[0] for process in processes}
    assert secrets == {load_or_create(tmp_path / "kingpost.secret") + "\n"}
    assert os.listdir(tmp_path) == ["kingpost.secret"]
