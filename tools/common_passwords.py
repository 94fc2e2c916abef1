"""Make src/kingpost/auth/passwords/common_passwords.txt, the list of passwords that everyone tries first.

    python tools/common_passwords.py

The source is the `passwords` list of the development dependency zxcvbn: the 30,000 most frequent of leaked
collections, without people's names and dictionary words, which do not make a long password common.
Shorter entries than a password may have are left out, the rest is case-folded and sorted. Run it again
after an update of zxcvbn; the test compares.
"""

from pathlib import Path

from zxcvbn.frequency_lists import FREQUENCY_LISTS

SHORTEST = 8
TARGET = Path(__file__).parent.parent / "src" / "kingpost" / "auth" / "passwords" / "common_passwords.txt"


def common_passwords() -> list[str]:
    """The list's lines."""
    return sorted({word.casefold() for word in FREQUENCY_LISTS["passwords"] if len(word) >= SHORTEST})


if __name__ == "__main__":
    TARGET.write_text("\n".join(common_passwords()) + "\n", "utf-8")
