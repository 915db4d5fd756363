import pytest

from benchmarks.inputs.settings import cases, fault


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_a_mistake_in_the_settings_is_one_line(tmp_path, case):
    assert fault(case, tmp_path) is None


def test_there_are_sixty_of_ten_kinds_in_each_way():
    for way in ("variable", "profile", "--set"):
        made = [case.kind for case in cases() if case.way == way]
        assert len(made) >= 60, way
        assert len(set(made)) >= 10, way
