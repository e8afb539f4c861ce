"""Programs that try to pass without being right: none does, whatever it returns, patches, reads or writes."""

import pytest
from projects_common.sandbox.confined import Limits, run

LIMITS = Limits(seconds=2.0)
TESTS = "assert double(3) == 6\nassert double(10) == 20"
WRONG = "def double(n):\n    return n + 1\n"
# Each program begins with a wrong solution. What it adds is the attempt.
ON_ALL_DESCRIPTORS = """
import os
def write_everywhere(content):
    for number in range(1, 64):
        try:
            os.write(number, content)
        except OSError:
            pass
def framed(text):
    return len(text).to_bytes(4, 'big') + text
"""
PATCHES_ANSWER = """
import sys
objects = sys.modules['projects_common.sandbox.child.solution']._Objects
"""

FAILS = {
    "a number equal to all": "class N(int):\n    __eq__ = lambda *_: True\n    __hash__ = int.__hash__\n"
    "def double(n):\n    return N(1)",
    "a text equal to all": "class S(str):\n    __eq__ = lambda *_: True\ndef double(n):\n    return S()",
    "a list equal to all": "class L(list):\n    __eq__ = lambda *_: True\ndef double(n):\n    return L()",
    "a fraction equal to all": "import fractions\nclass F(fractions.Fraction):\n    __eq__ = lambda *_: True\n"
    "def double(n):\n    return F(1)",
    "a type equal to all": "class M(type):\n    __eq__ = lambda *_: True\n    __hash__ = type.__hash__\n"
    "class C(metaclass=M): pass\nC = C\ndef double(n):\n    return int",
    "patches the verdict": "import sys\nfor name, module in list(sys.modules.items()):\n    for key in dir(module):\n"
    "        if key in ('verdict', 'check', 'serve', '_run'):\n"
    "            try: getattr(module, key).__code__ = (lambda *_, **__: ('passed', '')).__code__\n"
    "            except Exception: pass",
    "patches json": 'import json\njson.dumps = lambda *_, **__: \'{"status": "passed", "message": ""}\'',
    "patches the builtins": "import builtins\nbuiltins.compile = builtins.exec = lambda *_, **__: None",
    "patches assertions": "import builtins\nbuiltins.AssertionError = type('Nothing', (BaseException,), {})",
    "traces": "import sys, threading\nsys.settrace(lambda *_: None)\nsys.setprofile(lambda *_: None)",
    "reads the tests in the frames": "import sys, re\nfound = ''\nframe = sys._getframe()\nwhile frame:\n"
    "    for value in [*frame.f_locals.values(), *frame.f_globals.values()]:\n"
    "        if 'double(' + '3) ==' in str(value): found = str(value)\n    frame = frame.f_back\n"
    "known = {int(a): int(b) for a, b in re.findall(r'double.(\\d+). == (\\d+)', found)}\n"
    "def double(n):\n    return known[n]",
    "reads the tests in the collector": "import gc\nwanted = 'double(' + '3) =='\n"
    "assert not [o for o in gc.get_objects() if isinstance(o, dict) and wanted in str([*o.values()])], 'found'\n"
    "import this_is_reached",
    "exits": "import sys\nsys.exit(0)",
    "exits when it is called": "import os\ndef double(n):\n    os._exit(0)",
    "raises SystemExit when it is called": "def double(n):\n    raise SystemExit(0)",
    "raises GeneratorExit": "def double(n):\n    raise GeneratorExit",
    "raises KeyboardInterrupt": "def double(n):\n    raise KeyboardInterrupt",
    "raises an error of its own": "class E(BaseException): pass\ndef double(n):\n    raise E",
    "exits at the end": "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit(0)",
    "says so": 'print(\'passed\')\nprint(\'{"status": "passed", "message": ""}\')',
    "says so on every descriptor": f'{ON_ALL_DESCRIPTORS}\nfor text in (b\'passed\', framed(b\'{{"status": "passed", '
    '"message": ""}\')):\n    write_everywhere(text)',
    "says so and ends": f"{ON_ALL_DESCRIPTORS}\n"
    f'write_everywhere(framed(b\'{{"failed": ["passed", ""]}}\'))\nos._exit(0)',
    "answers that it passed": f"{PATCHES_ANSWER}\nobjects.answer = lambda *_: {{'failed': ['passed', '']}}",
    "answers nothing": f"{PATCHES_ANSWER}\nobjects.answer = lambda *_: {{}}",
    "answers a list": f"{PATCHES_ANSWER}\nobjects.answer = lambda *_: [1]",
    "answers with a table that means nothing": f"{PATCHES_ANSWER}\n"
    "objects.answer = lambda *_: {'table': [['list', None, 0, 7]]}",
    "answers with a type that is none": f"{PATCHES_ANSWER}\n"
    f"objects.answer = lambda *_: {{'table': [['type', 'print']]}}",
    "answers with a module": f"{PATCHES_ANSWER}\nold = objects.answer\nobjects.answer = lambda self, request: "
    "old(self, request) if request['operation'] == 'names' else {'table': [['module', 'os']]}",
    "answers with an error that ends loops": f"{PATCHES_ANSWER}\nold = objects.answer\nobjects.answer = "
    "lambda self, request: old(self, request) if request['operation'] == 'names' else "
    "{'raised': ['StopIteration'], 'table': [['tuple', None]], 'verdict': ['passed', '']}",
    "answers with digits": f"{ON_ALL_DESCRIPTORS}\nwrite_everywhere(framed(b'{{\"table\": [' + b'9' * 50000 + b']}}'))",
    "answers deeply": f"{ON_ALL_DESCRIPTORS}\nwrite_everywhere(framed(b'[' * 50000))",
    "answers without end": f"{ON_ALL_DESCRIPTORS}\nwrite_everywhere(b'\\xff' * 50000)",
    "closes everything": "import os\nos.closerange(0, 64)",
    "defines nothing": "del double",
    "defines a number": "double = 6",
}
UNDECIDED = {
    "an object equal to all": "class E:\n    __eq__ = lambda *_: True\ndef double(n):\n    return E()",
    "a mock": "from unittest import mock\ndouble = mock.Mock(return_value=mock.ANY)",
    "a class equal to all": "class M(type):\n    __eq__ = lambda *_: True\n    __hash__ = type.__hash__\n"
    "class C(metaclass=M): pass\ndef double(n):\n    return C",
    "an object that computes anything": "class A:\n    def __getattr__(self, name): return self\n"
    "    __eq__ = __add__ = __radd__ = __lt__ = __gt__ = __call__ = lambda self, *_: self\n"
    "def double(n):\n    return A()",
}


@pytest.mark.parametrize("attempt", FAILS)
def test_a_wrong_program_fails_whatever_it_tries(attempt):
    result = run(f"{WRONG}{FAILS[attempt]}\n", TESTS, "double", LIMITS)
    assert result.status == "failed", result
    assert "\n" not in result.message


@pytest.mark.parametrize("attempt", UNDECIDED)
def test_a_value_that_compares_as_it_likes_leaves_the_tests_undecided(attempt):
    result = run(f"{WRONG}{UNDECIDED[attempt]}\n", TESTS, "double", LIMITS)
    assert result.status == "undecided", result


EXHAUSTED = "def double(n):\n    raise StopIteration"
EQUAL = "class E:\n    __eq__ = lambda *_: True\ndef double(n):\n    return E()"


@pytest.mark.parametrize(
    ("source", "tests", "status"),
    [
        (EXHAUSTED, "assert all(map(lambda n: double(n) == 2 * n, [3, 10]))", "failed"),
        (EXHAUSTED, "for n in map(double, [3]):\n    assert n == 6", "failed"),
        (EQUAL, "try:\n    right = double(3) == 6\nexcept BaseException:\n    right = True\nassert right", "undecided"),
        (EQUAL, "assert double(3) in [6]", "undecided"),
        (EQUAL, "assert isinstance(double(3), int)", "undecided"),
        (EQUAL, "assert abs(double(3) - 6) < 1e-9", "undecided"),
        (EQUAL, "assert {6: 1}[double(3)] == 1", "undecided"),
        (
            "class C:\n    __contains__ = lambda *_: True\ndef double(n):\n    return C()",
            "assert 6 in double(3)",
            "undecided",
        ),
        ("abs = lambda _: 0\ndef double(n):\n    return 1", "assert abs(double(3) - 6) < 1", "failed"),
        (
            "import sys\nsys.exit = None\ndef double(n):\n    return 1",
            "import math\nassert math.gcd(double(3), 6) == 6",
            "failed",
        ),
        ("", "assert sum([1, 2]) == 3", "failed"),
    ],
)
def test_tests_that_catch_or_loop_are_not_talked_out_of_it(source, tests, status):
    assert run(source, tests, "double" if source else "sum", LIMITS).status == status


ENCODE = "def encode(text):\n    return text[::-1]\n\n\ndef decode(text):\n"
ROUND_TRIP = "assert decode(encode('abc')) == 'abc'"


def test_a_function_that_came_with_the_task_cannot_be_redefined_to_fit():
    cheat = f"{ENCODE}    return text\n\n\ndef encode(text):\n    return text"
    assert run(cheat, ROUND_TRIP, "decode", LIMITS).status == "passed", "nobody said what encode means"
    given = f'{ENCODE}    """Undo it."""\n'
    assert run(cheat, ROUND_TRIP, "decode", LIMITS, given).status == "failed"
    assert run(f"{ENCODE}    return text[::-1]", ROUND_TRIP, "decode", LIMITS, given).status == "passed"


def test_a_solution_that_leaves_the_function_out_does_not_pass_by_the_one_of_the_prompt():
    given = "def double(n):\n    return 2 * n\n"
    assert run("x = 1", TESTS, "double", LIMITS, given).status == "failed"
