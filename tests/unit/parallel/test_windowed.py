import threading
import time

import pytest

from biometric_core.parallel.windowed import map_threads


def test_results_come_in_order_from_several_threads():
    seen = set()
    meet = threading.Barrier(2, timeout=30)

    def work(number: int) -> int:
        if number in (0, 16):  # the first of two groups: each waits for the other's thread
            meet.wait()
        seen.add(threading.get_ident())
        return number * number

    assert list(map_threads(work, range(100), 2)) == [number * number for number in range(100)]
    assert len(seen) == 2


def test_items_are_taken_only_as_results_are():
    taken = 0

    def items():
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield number

    results = map_threads(str, items(), 2)
    assert next(results) == "0"
    assert taken < 200
    results.close()


def test_what_the_function_raises_is_raised_in_its_place():
    results = map_threads(lambda number: 1 // (50 - number), range(100), 3)
    with pytest.raises(ZeroDivisionError):
        list(results)


def test_what_waits_is_not_begun_once_nobody_wants_it():
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.001)
        return number

    results = map_threads(work, range(10_000), 1)
    next(results)
    results.close()
    assert len(begun) < 100
