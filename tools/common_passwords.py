"""Generate src/kingpost/auth/passwords/common_passwords.txt, the list of common passwords.

    python tools/common_passwords.py

The source is the `passwords` list of the development dependency zxcvbn: the 30,000 most frequent passwords of leaked
collections. It has no names of people and no dictionary words, because these do not make a long password common.
The tool drops entries that are shorter than the minimum length, then case-folds and sorts the rest. Run it again
after an update of zxcvbn. A test compares the file with the source.
"""

from pathlib import Path

from zxcvbn.frequency_lists import FREQUENCY_LISTS

MIN_LENGTH = 8
TARGET = Path(__file__).parent.parent / "src" / "kingpost" / "auth" / "passwords" / "common_passwords.txt"


def common_passwords() -> list[str]:
    """Return the lines of the list."""
    return sorted({word.casefold() for word in FREQUENCY_LISTS["passwords"] if len(word) >= MIN_LENGTH})


if __name__ == "__main__":
    TARGET.write_text("\n".join(common_passwords()) + "\n", "utf-8")
