import hashlib
import zipfile
from pathlib import Path

import orjson
import pytest

from deploy import movielens

# The shape of the data, made up: none of it is theirs.
FILES = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "2\t8\t4\t2000\n1\t7\t3\t1000\n1\t8\t5\t2000\n2\t9\t1\t1500\n",
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "7\tÉté\t1995\tFilm-Noir Sci-Fi\n8\tOne, Two\t1997\tComedy\n9\tunkonwn\tunkonwn\tunknown\n",
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t24\tM\ttechnician\t85711\n2\t56\tF\tother\t94043\n",
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in FILES.items()}
    monkeypatch.setattr(movielens, "FILES", digests)
    return digests


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry that is a folder: pip itself runs, and no network is needed."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def put_wheel(folder: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(f"{movielens.FOLDER}/{name}", text)
        wheel.writestr("recbole-1.2.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        wheel.writestr(
            "recbole-1.2.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("recbole-1.2.1.dist-info/RECORD", "")


@pytest.mark.usefixtures("small")
def test_ratings_become_events_in_the_order_of_their_time(tmp_path: Path, shelf: Path) -> None:
    put_wheel(shelf, FILES)
    path = tmp_path / "build" / "events.jsonl"
    assert movielens.write_jsonl(path, tmp_path / "cache") == 4
    one = {"age": "18-24", "gender": "M", "occupation": "technician"}
    two = {"age": "56+", "gender": "F", "occupation": "other"}
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == [
        {
            "user": "1",
            "item": "7",
            "label": 0,
            "time": 1_000_000,
            **one,
            "genres": ["Film-Noir", "Sci-Fi"],
            "year": 1995,
        },
        {"user": "2", "item": "9", "label": 0, "time": 1_500_000, **two, "genres": ["unknown"]},
        {"user": "2", "item": "8", "label": 1, "time": 2_000_000, **two, "genres": ["Comedy"], "year": 1997},
        {"user": "1", "item": "8", "label": 1, "time": 2_000_000, **one, "genres": ["Comedy"], "year": 1997},
    ]
    assert [found.name for found in path.parent.iterdir()] == ["events.jsonl"]


def test_files_are_fetched_once_and_a_damaged_one_again(tmp_path: Path, shelf: Path, small: dict[str, str]) -> None:
    # Given a cache that was filled from the registry
    put_wheel(shelf, FILES)
    cache = movielens.fetch(tmp_path / "cache")
    assert sorted(found.name for found in cache.iterdir()) == sorted(small)
    # When the registry is gone, then the cache serves
    (shelf / "recbole-1.2.1-py3-none-any.whl").unlink()
    assert movielens.fetch(cache) == cache
    # When a file is damaged, then it is not taken for whole, and it is mended as soon as the registry is back
    (cache / "ml-100k.item").write_text("item_id:token\n")
    with pytest.raises(movielens.DatasetUnavailableError, match=r"pip cannot download recbole==1\.2\.1"):
        movielens.fetch(cache)
    put_wheel(shelf, FILES)
    movielens.fetch(cache)
    assert (cache / "ml-100k.item").read_text() == FILES["ml-100k.item"]
    assert sorted(found.name for found in cache.iterdir()) == sorted(small)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({name: text for name, text in FILES.items() if name != "ml-100k.user"}, "does not hold .*user"),
        ({**FILES, "ml-100k.inter": "something else"}, "is not the file that is expected"),
    ],
)
def test_a_wheel_that_holds_something_else_is_refused(
    tmp_path: Path, shelf: Path, files: dict[str, str], problem: str
) -> None:
    put_wheel(shelf, files)
    with pytest.raises(movielens.DatasetUnavailableError, match=problem):
        movielens.fetch(tmp_path / "cache")


def test_every_age_has_a_band() -> None:
    bands = [movielens.age_band(age) for age in range(1, 100)]
    assert list(dict.fromkeys(bands)) == list(movielens.BANDS)
    for age in range(18, 56):
        first, last = movielens.age_band(age).split("-")
        assert int(first) <= age <= int(last)
