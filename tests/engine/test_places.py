"""Places and starts that every process of the machine shares."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engine.layers.places import Machine, Places, Starts

HOLDER = """
import sys
from pathlib import Path
from dragoman.engine.layers.places import Places
places = Places(Path(sys.argv[1]), "a")
held = [places.take(int(sys.argv[2])) for _ in range(int(sys.argv[2]) + 1)]
print(sum(place is not None for place in held), flush=True)
sys.stdin.read()
"""


def holder(folder: Path, count: int) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", HOLDER, str(folder), str(count)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_there_are_as_many_as_whoever_asks_says(tmp_path: Path) -> None:
    places = Places(tmp_path, "a")
    first, second = places.take(2), places.take(2)
    assert first is not None
    assert second is not None
    assert places.take(2) is None
    assert Places(tmp_path, "a").take(2) is None
    third = places.take(3)
    assert third is not None
    first.release()
    first.release()
    again = places.take(2)
    assert again is not None
    assert Places(tmp_path, "b").take(1) is not None
    for place in (second, third, again):
        place.release()


def test_what_a_killed_process_held_is_free_again_at_once(tmp_path: Path) -> None:
    with holder(tmp_path, 3) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3\n"
        assert Places(tmp_path, "a").take(3) is None
        process.kill()
        process.wait(60)
        place = Places(tmp_path, "a").take(3)
        assert place is not None
        place.release()


def test_a_place_that_was_given_back_is_anybodys_and_costs_no_new_file(tmp_path: Path) -> None:
    ours, others = Places(tmp_path, "a"), Places(tmp_path, "a")
    for _ in range(3):
        place = ours.take()
        assert place is not None
        assert others.take() is None
        place.release()
        other = others.take()
        assert other is not None
        assert ours.take() is None
        other.release()
    ours.close()
    others.close()
    last = Places(tmp_path, "a").take()
    assert last is not None
    last.release()


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
def test_many_places_are_one_file_that_is_closed_when_nobody_needs_it(tmp_path: Path) -> None:
    def opened() -> int:
        links = (link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return [link.parent for link in links].count(tmp_path)

    places, other = Places(tmp_path, "a"), Places(tmp_path, "a")
    held = [places.take(20) for _ in range(20)]
    assert None not in held
    assert other.take(20) is None
    assert (opened(), [file.name for file in tmp_path.iterdir()]) == (2, ["a"])
    other.close()
    places.close()
    assert opened() == 1
    for place in held:
        assert place is not None
        place.release()
    assert opened() == 0


def test_who_had_a_place_of_a_folder_that_was_removed_meets_the_others_in_the_new_one(tmp_path: Path) -> None:
    ours = Places(tmp_path, "a")
    place = ours.take()
    assert place is not None
    place.release()
    (tmp_path / "a").unlink()
    place = ours.take()
    assert place is not None
    assert Places(tmp_path, "a").take() is None
    ours.close()
    # It was held while the rest was let go of.
    place.release()
    assert Places(tmp_path, "a").take() is not None


def test_a_child_that_is_started_meanwhile_does_not_keep_a_place(tmp_path: Path) -> None:
    place = Places(tmp_path, "a").take()
    assert place is not None
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        place.release()
        again = Places(tmp_path, "a").take()
        assert again is not None
        again.release()
        child.communicate(b"\n")


@given(st.lists(st.floats(0, 3), min_size=1, max_size=20))
def test_between_two_starts_lies_the_gap_however_often_one_asks(
    tmp_path_factory: pytest.TempPathFactory, steps: list[float]
) -> None:
    now = 1000.0
    starts = Starts(tmp_path_factory.mktemp("starts"), "a", lambda: now)
    began: list[float] = []
    for step in steps:
        now = round(now + step, 6)
        wait = starts.claim(0.5)
        assert 0 <= wait <= 0.5
        if wait == 0:
            began.append(now)
    assert all(later - earlier >= 0.5 - 1e-6 for earlier, later in pairwise(began))
    assert began[0] == round(1000 + steps[0], 6)


def test_a_start_in_the_future_is_of_a_clock_that_was_set_back(tmp_path: Path) -> None:
    assert Starts(tmp_path, "a", lambda: 5000.0).claim(0.5) == 0
    assert Starts(tmp_path, "a", lambda: 1000.0).claim(0.5) == 0


def test_whoever_holds_the_start_is_waited_for_only_so_long(tmp_path: Path) -> None:
    held = Places(tmp_path, "a.start").take()
    assert held is not None
    assert Starts(tmp_path, "a", lambda: 0.0).claim(0.5) > 0
    held.release()


def test_garbage_in_the_file_delays_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.start").write_text("not a time")
    assert Starts(tmp_path, "a", lambda: 1000.0).claim(0.5) == 0
    assert Starts(tmp_path, "a", lambda: 1000.1).claim(0.5) == pytest.approx(0.4)


def test_a_folder_that_is_a_file_shares_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")
    machine = Machine(lambda: tmp_path / "locks")
    assert machine.take("a", 1) is not None
    assert machine.take("a", 1) is not None
    assert machine.claim_start("a", 0.5) == 0
