"""Settings of a thread, and of the environment."""

import threading

import pytest

from kmeans_xp.config import Config, config_context, get_config
from kmeans_xp.devices.availability import n_threads

VARIABLES = ("KMEANS_XP_DEVICE", "KMEANS_XP_NUM_THREADS", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_nothing_is_set_at_first() -> None:
    assert get_config() == Config(device=None, n_threads=None)


def test_a_context_sets_what_it_names_and_restores_it() -> None:
    with config_context(device="cpu", n_threads=3):
        assert get_config() == Config("cpu", 3)
    assert get_config() == Config()


def test_an_inner_context_keeps_what_it_does_not_name() -> None:
    with config_context(device="cpu"):
        with config_context(n_threads=2):
            assert get_config() == Config("cpu", 2)
            with config_context(device="auto"):
                assert get_config() == Config("auto", 2)
            assert get_config() == Config("cpu", 2)
        assert get_config() == Config("cpu", None)


def test_an_error_inside_a_context_restores_the_outer_one() -> None:
    with config_context(n_threads=2):
        with pytest.raises(KeyError), config_context(n_threads=5):
            raise KeyError
        assert get_config().n_threads == 2


@pytest.mark.parametrize("number", [0, -1])
def test_less_than_one_thread_is_refused(number: int) -> None:
    with (
        pytest.raises(
            ValueError, match=rf"n_threads must be an integer of at least 1 or None, got {number}\."
        ),
        config_context(device="cpu", n_threads=number),
    ):
        pytest.fail("the block was entered")
    assert get_config() == Config()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OMP_NUM_THREADS": "4"}, 4),
        ({"KMEANS_XP_NUM_THREADS": "3"}, 3),
        ({"KMEANS_XP_NUM_THREADS": "3", "OMP_NUM_THREADS": "4"}, 3),
        ({"KMEANS_XP_NUM_THREADS": "", "OMP_NUM_THREADS": "4"}, 4),
        ({"KMEANS_XP_NUM_THREADS": "0", "OMP_NUM_THREADS": "4"}, 4),
        ({"KMEANS_XP_NUM_THREADS": "many"}, None),
        ({"OMP_NUM_THREADS": "-2"}, None),
        ({"OMP_NUM_THREADS": "²"}, None),
        # OpenMP's list for nested levels: the first is this level's.
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": " 4 "}, 4),
    ],
    ids=str,
)
def test_threads_of_the_environment(
    environment: dict[str, str], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert get_config().n_threads == expected


def test_a_context_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEANS_XP_DEVICE", "cuda")
    monkeypatch.setenv("KMEANS_XP_NUM_THREADS", "7")
    assert get_config() == Config("cuda", 7)
    with config_context(device="cpu", n_threads=2):
        assert get_config() == Config("cpu", 2)
    assert get_config() == Config("cuda", 7)


def test_an_empty_device_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEANS_XP_DEVICE", "")
    assert get_config().device is None


def test_a_new_thread_starts_with_the_defaults() -> None:
    seen: list[Config] = []
    with config_context(device="cpu", n_threads=2):
        thread = threading.Thread(target=lambda: seen.append(get_config()))
        thread.start()
        thread.join()
    assert seen == [Config()]


def test_a_context_in_another_thread_is_not_seen_here() -> None:
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with config_context(n_threads=9):
            inside.set()
            done.wait(10.0)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10.0)
    assert get_config() == Config()
    done.set()
    thread.join()


def test_kernels_take_the_threads_that_were_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert n_threads() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert n_threads() == 5
    with config_context(n_threads=3):
        assert n_threads() == 3


def test_precision_is_true_float32_unless_tf32_is_named() -> None:
    assert get_config().precision == "float32"
    with config_context(precision="tf32"):
        with config_context(n_threads=1):
            assert get_config().precision == "tf32"
        with config_context(precision="float32"):
            assert get_config().precision == "float32"
    with pytest.raises(ValueError, match="'float32' or 'tf32', got 'half'"):
        config_context(precision="half").__enter__()
