"""Right solutions pass, though each value that their tests compare has come from another process."""

import pytest
from projects_common.sandbox.confined import run

PASSES = {
    "plain values": ("def f(x): return x", "x = [1, 2.5, 'a', None, {'k': (1, {2})}, b'x', 1j]\nassert f(x) == x"),
    "exact types": ("def f(x): return x", "assert f(True) is True and type(f(1.0)) is float and f((1,)) != [1]"),
    "large numbers": ("def f(n): return 10 ** n", "assert f(30000) == 10 ** 30000 and f(400) - f(400) == 0"),
    "no number": ("def f(): return float('nan')", "assert f() != f()"),
    "a lone surrogate": ("def f(): return '\\ud800'", "assert f() == '\\ud800'"),
    "a subclass": ("import enum\nclass E(enum.IntEnum):\n    A = 3\ndef f(): return E.A", "assert f() == 3"),
    "a named tuple": (
        "from collections import namedtuple\ndef f(): return namedtuple('P', 'x')(1)",
        "assert f() == (1,)",
    ),
    "collections": (
        "from collections import *\n"
        "def f(): return Counter('aab'), deque([1], 2), defaultdict(int, a=1), OrderedDict(a=1)",
        "from collections import Counter, deque\nassert f() == (Counter('aab'), deque([1]), {'a': 1}, {'a': 1})\n"
        "assert f()[0]['missing'] == 0",
    ),
    "numbers and times": (
        "from datetime import *\nfrom decimal import Decimal\nfrom fractions import Fraction\n"
        "def f(): return Decimal('1.10'), Fraction(1, 3), date(2020, 1, 2), timedelta(1)",
        "from datetime import date, timedelta\nfrom decimal import Decimal\nfrom fractions import Fraction\n"
        "assert f() == (Decimal('1.10'), Fraction(1, 3), date(2020, 1, 2), timedelta(1))",
    ),
    "a value deeper than the stack": (
        "def f():\n    x = []\n    for _ in range(50000): x = [x]\n    return x",
        "assert len(f()) == 1",
    ),
    "a list inside itself": ("def f():\n    x = [1]\n    x.append(x)\n    return x", "x = f()\nassert x[1] is x"),
    "an argument changed in place": ("def f(x): x.sort()", "x = [3, 1, 2]\nassert f(x) is None\nassert x == [1, 2, 3]"),
    "a part of an argument changed in place": (
        "def f(rows, d):\n    rows[0].append(9)\n    d['new'] = 1\n    d['old'].add(2)",
        "row, old = [1], {1}\n"
        "d = {'old': old}\nf([row], d=d)\nassert row == [1, 9] and old == {1, 2} and d['new'] == 1",
    ),
    "arguments that are one object": ("def f(m): m[0][0] = 7\n", "m = [[0]] * 2\nf(m)\nassert m == [[7], [7]]"),
    "a generator": ("def f(n): yield from range(n)", "assert list(f(3)) == [0, 1, 2] and sum(f(4)) == 6 and 2 in f(3)"),
    "an endless generator": (
        "import itertools\ndef f(): return itertools.count(1)",
        "g = f()\nassert next(g) == 1 and next(g) == 2",
    ),
    "a function": ("def f(a): return lambda b: a + b", "assert f(1)(2) == 3 and callable(f(1))"),
    "a class": (
        "class Node:\n    def __init__(self, v): self.v, self.left = v, None\n"
        "    def __str__(self): return f'<{self.v}>'\n"
        "def f(node): return node.v + (f(node.left) if node.left else 0)",
        "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)\nassert f(root) == 6\n"
        "assert root.left.v == 2 and str(root) == '<1>' and root.left is root.left and root != root.left",
    ),
    "objects inside a list": (
        "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
        "def f(pairs): return sum(p.a for p in pairs)",
        "assert f([Pair(1, 2), Pair(3, 4)]) == 4",
    ),
    "an error that is expected": (
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    raise {}[x]",
        "try:\n    f(-1)\nexcept ValueError as error:\n    assert str(error) == 'negative'\nelse:\n    assert False\n"
        "try:\n    f(5)\nexcept KeyError as error:\n    assert error.args == (5,)",
    ),
    "an error of its own": (
        "class TooSmall(ValueError): pass\ndef f(): raise TooSmall('no')",
        "try:\n    f()\nexcept ValueError:\n    pass\nelse:\n    assert False",
    ),
    "a module that the solution imports": (
        "import sys, math as m\ndef f(x): return sys.getsizeof(x)",
        "assert f((1, 2)) == sys.getsizeof((1, 2)) and m.pi > 3",
    ),
    "a constant": ("LIMIT = 5\ndef f(): return LIMIT", "assert f() == LIMIT == 5"),
    "a name of the builtins": ("def sum(a, b): return a + b", "assert sum(1, 2) == 3"),
    "a type": ("def f(x): return type(x)", "assert f(1) is int and f([]) == list"),
    "output": ("def f():\n    print('x' * 1000)\n    return 1", "assert f() == 1"),
}
UNDECIDED = {
    "a function as an argument": ("def f(g): return g(1)", "assert f(lambda x: x + 1) == 2"),
    "an object as an argument": ("def f(p): return p.x", "class P:\n    x = 1\nassert f(P()) == 1"),
    "objects with a comparison of their own": (
        "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\ndef f(): return P(1)",
        "assert f() == P(1)",
    ),
    "a coroutine": ("async def f(): return 1", "import asyncio\nassert asyncio.run(f()) == 1"),
    "a method that a subclass adds": (
        "class S(list):\n    def top(self): return self[-1]\ndef f(): return S([1])",
        "assert f().top() == 1",
    ),
    "tests that are no Python": ("def f(): return 1", "assert f( == 1"),
}
FAILS = {
    "a generator for a list": ("def f(): yield 1", "assert f() == [1]"),
    "nothing": ("def f(): pass", "assert f() == [1]"),
    "an error": ("def f(): return 1 / 0", "assert f() == 1"),
    "an argument that was to stay": (
        "def f(x):\n    x.append(1)\n    return x",
        "x = [0]\nassert f(x) == [0, 1] and x == [0]",
    ),
    "too much": ("def f(): return 'x' * (20 * 2**20)", "assert f() == 'x'"),
}


@pytest.mark.parametrize("case", PASSES)
def test_a_right_solution_passes(case):
    source, tests = PASSES[case]
    result = run(source, tests, "sum" if "def sum" in source else "f")
    assert (result.status, result.message) == ("passed", "")


@pytest.mark.parametrize("case", UNDECIDED)
def test_what_cannot_cross_is_undecided(case):
    source, tests = UNDECIDED[case]
    result = run(source, tests, "f")
    assert result.status == "undecided", result
    assert result.message


@pytest.mark.parametrize("case", FAILS)
def test_a_wrong_solution_does_not_pass(case):
    source, tests = FAILS[case]
    assert run(source, tests, "f").status in ("failed", "memory")
