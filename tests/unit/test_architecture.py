from docs import packages


def test_the_page_shows_the_packages_as_they_are():
    page = packages.PAGE.read_text("utf-8")
    assert packages.with_picture(page) == page, "run `make architecture`"


def test_arrows_that_a_longer_way_says_are_left_out():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert packages.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}


def test_every_package_imports_only_from_below():
    floor = {name: number for number, layer in enumerate(packages.layers()) for name in layer}
    found = packages.imports()
    assert {name for name, ends in found.items() if not ends} <= {"errors", "schemas", "times"}
    for name, ends in found.items():
        assert all(floor[end] < floor[name] for end in ends), name
