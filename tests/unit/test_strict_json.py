"""The strict decoder: each fault alone, all faults together, and both code paths against an oracle."""

import json
import math
import random
import time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kingpost.jsontools import strict as strict_json
from kingpost.jsontools.strict import JSONLimits, decode
from kingpost.problems import MAX_FAULTS, Fault, InvalidRequest

MIB = 2**20


def faults_of(body: bytes, limits: JSONLimits | None = None) -> tuple[Fault, ...]:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, limits or JSONLimits())
    assert msgspec.json.encode(caught.value.faults)
    return caught.value.faults


def places(body: bytes, limits: JSONLimits | None = None) -> list[tuple[str, str | None]]:
    return [(fault.code, fault.pointer) for fault in faults_of(body, limits)]


def exactly_equal(one: Any, other: Any) -> bool:
    """Equal with types, order of keys and the sign of zero. A number whose spelling is kept counts as its value."""
    value = plain(one)
    return type(value) is type(other) and repr(value) == repr(other)


def plain(value: Any) -> Any:
    """Replace the numbers whose spelling is kept by their values."""
    if isinstance(value, dict):
        return {name: plain(child) for name, child in value.items()}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return json.loads(bytes(value)) if isinstance(value, msgspec.Raw) else value


# Good bodies


@pytest.mark.parametrize(
    "number", ["-0", "1e3", "1E+308", "1.10", "1e-400", "0.00001", "9007199254740993.0", "1.0", "7"]
)
@pytest.mark.parametrize(
    ("before", "after", "encoded"),
    [
        ("", "", ("", "")),
        ("[1.5, ", "]", ("[1.5,", "]")),
        (r'{"a": "\u0031e5 \u0041", "b": ', "}", ('{"a":"1e5 A","b":', "}")),
        (r'{"-0": "\n\\u0031", "b": ', ', "c": "1.10"}', (r'{"-0":"\n\\u0031","b":', ',"c":"1.10"}')),
        (r'["\u0001", ', "]", (r'["\u0001",', "]")),
    ],
)
def test_a_number_is_encoded_as_it_was_sent(number: str, before: str, after: str, encoded: tuple[str, str]) -> None:
    text = f"{before}{number}{after}".encode()
    for decoded in (decode(text), strict_json.decode_stored(text)):
        assert msgspec.json.encode(decoded).decode() == encoded[0] + number + encoded[1]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b" \t\r\n true \n", True),
        (b"0", 0),
        (b"-0", 0),
        (b"-0.0", -0.0),
        (b"1.0", 1.0),
        (b"1e3", 1000.0),
        (b"1E+308", 1e308),
        (b"1e-400", 0.0),
        (b"0e999999999999999999999", 0.0),
        (b"12345678901234567890.5", 12345678901234567890.5),
        (b"9007199254740993e0", 9007199254740992.0),
        (b"0.30000000000000004", 0.30000000000000004),
        (b"9007199254740992", 2**53),
        (b"-9007199254740992", -(2**53)),
        (b'"1234567890123456789012345"', "1234567890123456789012345"),
        (b'""', ""),
        (b'"\\u003a\\u0041\\/\\n\\"\\\\"', ':A/\n"\\'),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\\\u0000 \\\\ud800"', "\\u0000 \\ud800"),
        ('"Grüße 😀\x7f\ufeff\uffff"'.encode(), "Grüße 😀\x7f\ufeff\uffff"),
        (b"[]", []),
        (b"{}", {}),
        (b'{"b": [1, {"a": null}], "a": ":", "": "}{]["}', {"b": [1, {"a": None}], "a": ":", "": "}{]["}),
        (b"[" * 32 + b"]" * 32, json.loads("[" * 32 + "]" * 32)),
        (b'{"a":' * 32 + b"1" + b"}" * 32, json.loads('{"a":' * 32 + "1" + "}" * 32)),
        (b"[" + b'{"a":["]]}}\\"[["]},' * 100 + b"0]", [{"a": [']]}}"[[']}] * 100 + [0]),
        (b'["' + b"[" * 1000 + b'"]', ["[" * 1000]),
    ],
)
def test_good_bodies(body: bytes, value: Any) -> None:
    assert exactly_equal(decode(body), value)


def test_the_order_of_keys_is_kept() -> None:
    keys = [str(number) for number in range(1000)]
    random.Random(1).shuffle(keys)
    assert list(decode(json.dumps(dict.fromkeys(keys)).encode())) == keys


# Each fault alone


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "line 1, column 1"),
        (b"  ", "line 1, column 3"),
        (b"{", "line 1, column 2"),
        (b'{"a":1,\n "b" 2}', "line 2, column 6"),
        (b"[1,]", "line 1, column 3"),
        (b'{"a":1,}', "line 1, column 7"),
        (b"{a:1}", "line 1, column 2"),
        (b"{'a':1}", "line 1, column 2"),
        (b"1 2", "line 1, column 3"),
        (b"[] x", "line 1, column 4"),
        (b"[}", "line 1, column 2"),
        (b"01", "line 1, column 2"),
        (b"1.", "line 1, column 2"),
        (b"+1", "line 1, column 1"),
        (b".5", "line 1, column 1"),
        (b"0x10", "line 1, column 2"),
        (b"nan", "line 1, column 1"),
        (b"True", "line 1, column 1"),
        (b'"\\x41"', "line 1, column 2"),
        (b'"\\u12"', "line 1, column 3"),
        (b'"a\nb"', "line 1, column 3"),
        (b'"a\x00b"', "line 1, column 3"),
        (b'"a', "line 1, column 1"),
        (b"\x0c1", "line 1, column 1"),
        (b"\xc2\xa01", "line 1, column 1"),
        (b"// x\n1", "line 1, column 1"),
        ('["äöü", x]'.encode(), "line 1, column 9"),
        (b"1\x00", "line 1, column 2"),
    ],
)
def test_malformed(body: bytes, where: str) -> None:
    (fault,) = faults_of(body)
    assert (fault.code, fault.pointer) == ("malformed", "")
    assert fault.detail.endswith(f"({where})")


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b'{"\xe4":1}',
        b'"\xe2\x82',
        "{}".encode("utf-16"),
        "{}".encode("utf-16-be") + b"\xff",
    ],
)
def test_encoding(body: bytes) -> None:
    assert places(body) == [("encoding", "")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1,"a":1}', [("duplicate_key", "/a")]),
        (b'{"a":1,"a":2,"a":3}', [("duplicate_key", "/a")]),
        (b'{"a":1,"\\u0061":2}', [("duplicate_key", "/a")]),
        (b'{"a":1,"a":"\\u003a"}', [("duplicate_key", "/a")]),
        (b'{"a":"::","a":"::"}', [("duplicate_key", "/a")]),
        (b'{"":1,"":2}', [("duplicate_key", "/")]),
        (b'[{"x":{"m~n/o":1,"m~n/o":2}}]', [("duplicate_key", "/0/x/m~0n~1o")]),
        (b'{"a":{"a":{"a":1}}, "b":{"a":1}, "b":0}', [("duplicate_key", "/b")]),
        (b"NaN", [("number", "")]),
        (b"[Infinity,-Infinity]", [("number", "/0"), ("number", "/1")]),
        (b'{"a":1e400}', [("number", "/a")]),
        (b"-1e400", [("number", "")]),
        (b"9007199254740993", [("integer_range", "")]),
        (b"[-9007199254740993]", [("integer_range", "/0")]),
        (b"9223372036854775808", [("integer_range", "")]),
        (b"1" * 5000, [("integer_range", "")]),
        (b'{"a":-' + b"9" * 5000 + b"}", [("integer_range", "/a")]),
        (b'"\\u0000"', [("nul", "")]),
        (b'{"a\\u0000":1}', [("nul", "/a\ufffd")]),
        (b'["\\ud800"]', [("surrogate", "/0")]),
        (b'["\\ude00\\ud83d"]', [("surrogate", "/0")]),
        (b'{"\\uD800":1}', [("surrogate", "/\ufffd")]),
        (b'"\\ud83d\\u0000"', [("nul", ""), ("surrogate", "")]),
        (b"[" * 33 + b"]" * 33, [("too_deep", "/0" * 32)]),
        (b'[1,{"b":' * 17 + b"1" + b"}]" * 17, [("too_deep", "/1/b" * 16)]),
    ],
)
def test_refused(body: bytes, expected: list[tuple[str, str]]) -> None:
    assert places(body) == expected


def test_all_faults_are_reported_together() -> None:
    body = b"""{"data": {"x": NaN, "y": [1, "\\u0000", 1e999], "x": 3, "k\\ud800": "ok"},
        "n": 123456789012345678901234567890, "ok": "fine"}"""
    assert places(body) == [
        ("duplicate_key", "/data/x"),
        ("number", "/data/x"),
        ("nul", "/data/y/1"),
        ("number", "/data/y/2"),
        ("surrogate", "/data/k\ufffd"),
        ("integer_range", "/n"),
    ]


def test_too_many_keys() -> None:
    def body(count: int) -> bytes:
        return json.dumps([{str(number): ":"} for number in range(count)]).encode()

    assert len(decode(body(10_000))) == 10_000
    assert places(body(10_001)) == [("too_many_keys", "")]
    assert places(b'{"a":{"b":1,"b":2},"c":NaN}', JSONLimits(keys=3)) == [
        ("duplicate_key", "/a/b"),
        ("number", "/c"),
        ("too_many_keys", ""),
    ]


def test_the_first_too_deep_place_is_reported() -> None:
    limits = JSONLimits(depth=2)
    assert places(b'[[1],{"a":2,"b":[]},[[]]]', limits) == [("too_deep", "/1/b")]
    assert places(b'{"a":1,"a":{"b":"]}","b":{"c":0}},"c":NaN}', limits) == [("too_deep", "/a/b")]
    assert places(b'["\\"]]",["\\\\",[', limits) == [("too_deep", "/1/1")]


def test_a_syntax_error_before_the_too_deep_place_is_reported() -> None:
    assert places(b"[x," + b"[" * 100) == [("malformed", "")]
    assert places(b"]" * 100 + b"[" * 200) == [("malformed", "")]
    assert places(b"[}" * 100 + b"[" * 200) == [("malformed", "")]
    assert places(b'"\xff"' + b"[" * 200) == [("encoding", "")]


def test_no_refused_value_is_repeated() -> None:
    for body in (
        b'{"password": hunter2}',
        b'{"password": "hunter2}',
        b'{"password": "hunter2\x01"}',
        b'{"password": "hunter2\\u0000"}',
        b'{"password": "hunter2\\ud800"}',
        b'{"password": "\\hunter2"}',
        b'"hunter2" hunter2',
        b'{"password": "hunter2\xff"}',
        b'{"x": "hunter2", "x": "hunter2"}',
        b"[" * 40 + b"hunter2",
        b"4242424242424242424242",
    ):
        text = msgspec.json.encode(faults_of(body)).decode()
        assert "hunter2" not in text
        assert "4242" not in text


def test_faults_are_capped() -> None:
    for part in (b"NaN", b'"\\u0000"', b'{"a":1,"a":2}', b'{"\\u0000":NaN}', b"[1e400]", b"9" * 99):
        body = b"[" + b",".join([part] * 1000) + b"]"
        assert len(faults_of(body)) == MAX_FAULTS
    body = ("{" + ",".join(f'"{n}":1,"{n}":2' for n in range(1000)) + "}").encode()
    assert len(faults_of(body)) == MAX_FAULTS


def test_a_long_key_does_not_cause_a_long_response() -> None:
    body = b'{"a":{"' + b"k" * 100_000 + b'":[' + b",".join([b"NaN"] * 200) + b"]}}"
    faults = faults_of(body)
    assert {fault.pointer for fault in faults} == {"/a"}
    assert len(msgspec.json.encode(faults)) < 20_000


def test_limits_are_checked() -> None:
    for wrong in ({"depth": 0}, {"depth": 201}, {"integer": 10**15 - 1}, {"integer": 2**63 + 1}):
        with pytest.raises(ValueError, match="limit"):
            JSONLimits(**wrong)


@pytest.mark.parametrize("integer", [10**15, 2**53, 2**63])
def test_configured_integers(integer: int) -> None:
    limits = JSONLimits(integer=integer)
    for good in (integer, -integer):
        assert decode(str(good).encode(), limits) == good
    for bad in (integer + 1, -integer - 1):
        assert places(str(bad).encode(), limits) == [("integer_range", "")]


def test_configured_depth() -> None:
    limits = JSONLimits(depth=200)
    body = b'[{"a":' * 100 + b"NaN" + b"}]" * 100
    assert places(body, limits) == [("number", "/0/a" * 100)]
    assert decode(body.replace(b"NaN", b"1"), limits)
    assert places(b"[" * 201, limits) == [("too_deep", "/0" * 200)]


# Both code paths against an oracle


class RefusedError(Exception):
    """The oracle refuses the body."""


def oracle(body: bytes, limits: JSONLimits) -> Any:
    """Return the expected result, written for clarity: the standard library, and one rule at a time."""

    def inspect(value: Any, depth: int) -> Any:
        if isinstance(value, str) and any(char == "\0" or 0xD800 <= ord(char) <= 0xDFFF for char in value):
            raise RefusedError
        if isinstance(value, (list, tuple)) and depth == limits.depth:
            raise RefusedError
        if isinstance(value, float) and not math.isfinite(value):
            raise RefusedError
        if isinstance(value, int) and abs(value) > limits.integer:
            raise RefusedError
        if isinstance(value, list):
            return [inspect(item, depth + 1) for item in value]
        if isinstance(value, tuple):
            seen = {inspect(key, 0): inspect(item, depth + 1) for key, item in value}
            keys.extend(key for key, _ in value)
            if len(seen) < len(value) or len(keys) > limits.keys:
                raise RefusedError
            return seen
        return value

    keys: list[str] = []
    try:
        return inspect(json.loads(body.decode(), object_pairs_hook=tuple), 0)
    except ValueError:
        raise RefusedError from None


def assert_code_paths_agree(body: bytes, limits: JSONLimits) -> None:
    try:
        expected = oracle(body, limits)
    except RefusedError:
        assert faults_of(body, limits)
        return
    assert exactly_equal(decode(body, limits), expected)
    shallow = strict_json._is_shallow(body, limits.depth)
    assert shallow
    assert exactly_equal(strict_json._slow_path(body, limits, shallow=True), expected)
    assert exactly_equal(strict_json.decode_stored(body), expected)


LIMITS = st.builds(JSONLimits, depth=st.integers(1, 5), keys=st.integers(0, 6)) | st.just(JSONLimits())
NUMBERS = (
    st.integers(-(2**54), 2**54)
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 10**15, 10**16 - 1])
)
TEXTS = st.text(alphabet=st.characters() | st.sampled_from('\0\ud800\udc00:"\\[]{}é😀u0'), max_size=6)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from("ab"), inner, max_size=4),
    max_leaves=15,
)


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1, "\t"]), LIMITS)
def test_documents(document: Any, ascii_only: bool, indent: int | str | None, limits: JSONLimits) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert_code_paths_agree(text.encode(errors="surrogatepass"), limits)


QUOTED = '"a" "b" ":" "]" "[" "{" "}" "\\\\" "\\"" "\\u003a" "\\u003A" "\\u0000" "\\ud800" "\\udc00" "\\ud83d\\ude00"'
WORDS = "true null NaN -Infinity é \ud800 [[ ]] {} [] 1e400 1.5 9007199254740993 1111111111111111"
FIELDS = '"a": "a": "b": "": "\\u0061":'
TOKENS = st.sampled_from([*'[]{}[]{},,::"" \n-+.eE0179\\/ux\0', *QUOTED.split(), *WORDS.split(), *FIELDS.split()])


@given(st.lists(TOKENS, max_size=40), LIMITS)
@example(['{"a":1,"a":"\\u003a"}'], JSONLimits())
@example(['"""[[[["'], JSONLimits(depth=1))
def test_any_tokens(tokens: list[str], limits: JSONLimits) -> None:
    assert_code_paths_agree("".join(tokens).encode(errors="surrogatepass"), limits)


SCALARS = ["1", "null", '"a"', '"]"', '"[{"', r'"\""', r'"\\"', '":"', r'"\u003a"', "1.5", "NaN", "[]", "{}"]
KEYS = ['"a"', '"b"', r'"\u0061"', '":"']


def arrays_and_objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.lists(values, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
    fields = st.tuples(st.sampled_from(KEYS), values).map(":".join)
    return arrays | st.lists(fields, max_size=3).map(lambda items: "{" + ",".join(items) + "}")


VALUES = st.recursive(st.sampled_from(SCALARS), arrays_and_objects, max_leaves=12)


@given(VALUES, LIMITS)
def test_any_well_formed_text(text: str, limits: JSONLimits) -> None:
    """Repeated keys, brackets and colons in strings, and too deep places are frequent here."""
    assert_code_paths_agree(text.encode(), limits)


@given(VALUES, st.integers(1, 4))
def test_the_pointer_of_a_too_deep_place_has_as_many_steps_as_the_limit(text: str, depth: int) -> None:
    try:
        decode(text.encode(), JSONLimits(depth=depth))
    except InvalidRequest as problem:
        for fault in problem.faults:
            if fault.code == "too_deep":
                assert fault.pointer is not None
                assert fault.pointer.count("/") == depth


@given(DOCUMENTS, st.data())
def test_damaged_documents(document: Any, data: st.DataObject) -> None:
    body = bytearray(json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass"))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert_code_paths_agree(bytes(body), JSONLimits(depth=3))


@given(st.binary(max_size=60), LIMITS)
def test_any_bytes(body: bytes, limits: JSONLimits) -> None:
    assert_code_paths_agree(body, limits)


@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?\Z"))
def test_any_number(text: str) -> None:
    assert_code_paths_agree(text.encode(), JSONLimits())


@given(st.lists(TOKENS, max_size=40) | VALUES.map(list))
def test_the_decoders_of_the_slow_path_agree(tokens: list[str]) -> None:
    text = "".join(tokens)
    outcomes = []
    for decoder in (strict_json._decode_in_c, strict_json._decode_in_python):
        try:
            outcomes.append(repr(decoder(text)))
        except json.JSONDecodeError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


# Hostile bodies of a mebibyte


def fill(head: str, part: str, tail: str = "") -> bytes:
    return (head + part * ((MIB - len(head) - len(tail)) // len(part)) + tail).encode()


DEEP = "[" * 31 + "0" + "]" * 31
HOSTILE = {
    "brackets": fill("", "["),
    "objects in objects": fill("", '{"a":'),
    "digits": fill("", "1"),
    "digits behind the point": fill("1.", "1"),
    "zeros behind the point": fill("0.", "0", "1"),
    "digits of an exponent": fill("1e", "1"),
    "digits and a negative exponent": fill("", "9", "e-1000000"),
    "halfway between floats": fill("1.7976931348623158079372897140", "3", "e308"),
    "surrogates": fill('["a"', ',"\\ud800"', "]"),
    "surrogates in one string": fill('"', "\\ud800", '"'),
    "surrogates never closed": fill("", '"\\ud800"'),
    "integers": fill('["\\u0000"', ",1", "]"),
    "large integers": fill("[1", ",99999999999999999999", "]"),
    "one key": fill('{"a":1', ',"a":1', "}"),
    "objects": fill("[1", ',{"":0}', "]"),
    "arrays": fill('["\\u0000"', ",[]", "]"),
    "arrays, then too deep": fill("[1", ",[1]", "," + "[" * 40),
    "deep arrays": fill(f"[{DEEP}", f",{DEEP}", "]"),
    "deep arrays, then too deep": fill(f"[{DEEP}", f",{DEEP}", "," + "[" * 40),
    "up and down": b"]" * (MIB // 3) + b"[" * (MIB // 3) + b"]" * (MIB // 3) + b"[" * (MIB // 3 + 99),
    "down and up": b"[" * (MIB // 2) + b"]" * (MIB // 2),
    "mismatched": fill("", "[}"),
    "reversed": fill("", "]["),
    "quotes": fill("[" * 40, '"'),
    "backslashes": fill("[" * 40 + '"', "\\"),
    "escaped quotes": fill("[" * 40, '\\"'),
    "spaces": fill("", " "),
    "lines": fill('["\\u0000"', "\n,1"),
    "not UTF-8": fill("", "\ud7ff").replace(b"\x9f", b""),
    "a long key": fill('{"', "~", '":[' + ",".join(["NaN"] * 1000) + "]}"),
    "other keys twice": ("{" + ",".join(f'"{n}":1,"{n}":1' for n in range(40_000)) + "}").encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_processed_quickly(name: str) -> None:
    started = time.process_time()
    faults: tuple[Fault, ...] = ()
    try:
        decode(HOSTILE[name])
    except InvalidRequest as problem:
        faults = problem.faults
    assert time.process_time() - started < 5  # About a second at worst; quadratic time would take minutes.
    assert len(msgspec.json.encode(faults)) < 200_000
