"""``nox`` runs the checks that need no accelerator; ``nox -s NAME`` one session; ``nox -l`` lists.

Arguments after ``--`` go to pytest: ``nox -s numpy -- -k lloyd``.
"""

import contextlib
import os
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"  # a tenth of the time, where uv is there
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True

PYPROJECT = nox.project.load_toml("pyproject.toml")

#: Some tests take half a minute: a worker that is done takes over what another has left.
TWO_WORKERS = ("-n", "2", "--dist", "worksteal")

#: Two workers share two processors: threads that wait in a loop, as OpenMP's and OpenBLAS's do,
#: take the time of those that work. Tests beside scikit-learn's fits took half as long again.
WAIT_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}

#: the parity tests of kernels
KERNEL_TESTS = "tests/kernels/test_kernels.py"

#: the tests that ask for a second device, which is a run of its own
DEVICE_TESTS = ("tests/devices/test_cuda_devices.py", "tests/devices/test_devices.py")

#: the tests that NumPy's kernels pass with and without numba
FIT_TESTS = (
    "tests/estimators/test_kmeans.py",
    "tests/estimators/test_numerics.py",
    "tests/algorithms/test_seeding.py",
)

#: the kernels whose vectors are written by hand
VECTOR_KERNELS = "nearest or lloyd or bounded or closer or candidate or cluster_sums"

#: what other packages do otherwise in other versions
VERSION_TESTS = (
    "tests/blocks",
    "tests/cli",
    "tests/devices",
    "tests/estimators",
    "tests/plotting",
    "tests/test_accelerate.py",
    "tests/test_metrics.py",
    "tests/test_selection.py",
)

#: what several threads do at once
THREAD_TESTS = (
    "tests/test_faults.py",
    "tests/kernels/test_blas_threads.py",
    "tests/kernels/test_threads.py",
    "-k",
    "threads or pool_of_processes",
)

#: packages that take the estimators, or what was fitted
INTEROP = (
    "faiss-cpu",
    "imbalanced-learn",
    "mlflow",
    "onnxruntime",
    "skl2onnx",
    "skops",
    "yellowbrick",
)

#: scikit-learn's tests of k-means
SKLEARN_KMEANS = (
    "--pyargs",
    "sklearn.cluster.tests.test_k_means",
    "sklearn.cluster.tests.test_bisect_k_means",
)

#: its tests of what uses k-means
SKLEARN_USERS = (
    "sklearn.cluster.tests.test_bicluster",
    "sklearn.cluster.tests.test_spectral",
    "sklearn.mixture.tests.test_gaussian_mixture",
    "sklearn.preprocessing.tests.test_discretization",
)

#: whether to run also what other tests show as well: each night
EVERY_CASE = "KMEANS_XP_FUZZ" in os.environ

#: What Hypothesis finds with one library, it mostly finds with NumPy, where trying is fast.
FEW_EXAMPLES = {"HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE", "few")}

#: What depends on the library of an array. Tests of blocks, of the command line and of pictures run
#: on NumPy and on array-api-strict, which is the strictest, and on CuPy, whose device is another.
ARRAY_TESTS = (
    "tests/devices",
    "tests/kernels",
    "tests/estimators",
    "tests/algorithms/test_seeding.py",
    "tests/test_metrics.py",
    "tests/test_docs.py",
)

#: the files of which libraries where each test takes long try some: collecting all takes a while
SOME_FILES = (
    "tests/devices/test_devices.py",
    "tests/devices/test_lent.py",
    KERNEL_TESTS,
    "tests/estimators",
    "tests/test_metrics.py",
)

#: dpnp is the library whose arrays no other library reads: kernels on some shapes, and what an
#: estimator does with arrays of a device
DPNP_TESTS = (
    "test_devices.py or test_lent.py"
    " or test_kernels.py and (tile_borders or between_equal_centroids or memory_layout)"
    " or (test_kmeans.py or test_mini_batch_kmeans.py)"
    " and not (rounding_alone or wherever or vague or wider or n_init or drawn_as or may_be_rare)"
    " or test_bisecting_k_means.py and (predict_equals or on_any_device)"
    " or test_errors.py and (device or functions or refit)"
    " or test_functions.py or test_pickles.py or test_metrics.py"
)

#: JAX compiles every operation for every shape, which takes a fit of its own kernels seconds: all
#: of them are tried on few shapes, and fits that show the whole; NumPy's kernels take its arrays
JAX_TESTS = (
    "test_lent.py or test_devices.py"
    " or test_kernels.py and (tile_borders or between_equal_centroids or memory_layout)"
    " or (test_kmeans.py or test_mini_batch_kmeans.py) and (same_seed or results_are_of)"
    " or test_pickles.py and without_the_library"
)


def _install(session: nox.Session, *requirements: str) -> None:
    # Compiling all of pandas, polars and torch takes longer than unpacking them.
    session.install("--no-compile", *requirements)
    _take_bytecode(Path(session.virtualenv.location))


def _take_bytecode(environment: Path) -> None:
    """Link what Python has compiled of the same files in the environments of other sessions."""
    # uv links the files of a wheel from its cache: in each environment they are the same file.
    for packages in environment.glob("lib/python*/site-packages"):
        for other in environment.parent.glob(f"*/{packages.relative_to(environment)}"):
            for bytecode in other.rglob("*.pyc"):
                mine = packages / bytecode.relative_to(other)
                name = f"{bytecode.name.partition('.')[0]}.py"
                sources = [file.parent.parent / name for file in (mine, bytecode)]
                if mine.exists() or not all(map(Path.exists, sources)):
                    continue
                if sources[0].samefile(sources[1]):
                    mine.parent.mkdir(exist_ok=True)
                    with contextlib.suppress(FileExistsError):  # a test has just compiled it
                        mine.hardlink_to(bytecode)


def _pytest(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    command = ("python", "-m", "pytest", *arguments, *session.posargs)
    session.run(*command, env=WAIT_ASLEEP | (env or {}))


def _library_tests(
    session: nox.Session,
    name: str,
    *chosen: str,
    workers: tuple[str, ...] = TWO_WORKERS,
    env: dict[str, str] | None = None,
) -> None:
    few = {} if name == "numpy" else FEW_EXAMPLES
    _pytest(session, *workers, "--library", name, *chosen, env=few | (env or {}))


@nox.session
def lint(session: nox.Session) -> None:
    """Style (ruff), docstrings (numpydoc), and sentences that are hard to read."""
    _install(session, *nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("numpydoc", "lint", *map(str, sorted(Path("kmeans_xp").rglob("*.py"))))
    session.run("python", "-m", "tests.prose")


@nox.session
def types(session: nox.Session) -> None:
    """Static types (mypy, strict), and those that users of pyright see."""
    packages = ("numpy", "pytest", "hypothesis", "rich", "typer", "scikit-learn", "scipy")
    _install(session, *nox.project.dependency_groups(PYPROJECT, "types"), *packages)
    session.run("mypy", *session.posargs)
    session.run("pyright", "tests/typed_user.py")


@nox.session
def doctests(session: nox.Session) -> None:
    """The examples in docstrings and in README.md."""
    _install(session, "-e", ".[test]")
    _pytest(session, "--doctest-modules", "--doctest-glob=README.md", "kmeans_xp", "README.md")


@nox.session
def numpy(session: nox.Session) -> None:
    """All tests, on NumPy; some again without numba, and with AVX-512 off; benchmarks, once."""
    _install(session, "-e", ".[test]")
    _library_tests(session, "numpy")
    # In one process each: a second one takes longer to start than its share of these tests.
    # Not timed: so that every kernel and every job still has its benchmark.
    _pytest(session, "--library", "numpy", "benchmarks", "-k", "500x4x5")
    without = FEW_EXAMPLES | {"KMEANS_XP_NUMBA": "0"}
    _pytest(session, "--library", "numpy", *FIT_TESTS, env=without)
    # Vectors of half the length, where the processor has the long ones.
    shorter = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    chosen = ("-k", f"fixed_shapes and float32 and ({VECTOR_KERNELS})")
    _pytest(session, "--library", "numpy", KERNEL_TESTS, *chosen, env=shorter)


@nox.session
def array_api_strict(session: nox.Session) -> None:
    """The tests of array code on array-api-strict: strictest, and on its second device."""
    _install(session, "-e", ".[test]")
    _library_tests(session, "array_api_strict")


@nox.session(default=False)
def torch(session: nox.Session) -> None:
    """The tests of array code on PyTorch."""
    _install(session, "-e", ".[test]", "skops", "pip")
    # uv does not read pip's settings, which may say where a PyTorch without CUDA lies.
    session.run_install("python", "-m", "pip", "install", "-q", "--no-compile", "torch==2.13.0")
    _library_tests(session, "torch", *ARRAY_TESTS, "tests/test_interop.py")
    if EVERY_CASE:  # by day, arrays of array-api-strict show the same
        _sklearn_suite(session, "--arrays", "torch", *SKLEARN_KMEANS)


@nox.session(default=False)
def jax(session: nox.Session) -> None:
    """The tests of arrays of JAX, and of array code on a few shapes."""
    _install(session, "-e", ".[test]", "jax[cpu]")
    # JAX compiles every operation for every shape: the two workers then do so once.
    env = {
        "JAX_COMPILATION_CACHE_DIR": session.create_tmp(),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    _library_tests(session, "jax", *SOME_FILES, "-k", JAX_TESTS, env=env)


@nox.session(default=False)
def dpnp(session: nox.Session) -> None:
    """The tests of array code on dpnp, with Intel's OpenCL for CPUs."""
    _install(session, "-e", ".[test]", "dpnp", "intel-opencl-rt")
    # The wheel does not register its OpenCL driver, and a process cannot add a library path
    # to itself.
    lib = Path(session.virtualenv.location) / "lib"
    env = {
        "OCL_ICD_FILENAMES": str(lib / "libintelocl.so"),
        "LD_LIBRARY_PATH": str(lib),
        # With fewer threads, dpnp 0.20 now and then waits for ever: a host task wants the GIL
        # that the thread which waits for it holds.
        "SYCL_QUEUE_THREAD_POOL_SIZE": "64",
    }
    # Each process compiles the kernels of dpnp that it runs: two would take longer than one.
    _library_tests(session, "dpnp", *SOME_FILES, "-k", DPNP_TESTS, workers=(), env=env)


@nox.session(default=False)
def mlx(session: nox.Session) -> None:
    """The tests of arrays that NumPy's kernels compute with, on MLX for CPUs."""
    _install(session, "-e", ".[test]", "mlx[cpu]")
    # A second worker would import for longer than it tests.
    _library_tests(session, "mlx", "tests/devices/test_lent.py", workers=())


@nox.session(default=False)
def cupy(session: nox.Session) -> None:
    """The tests of array code on CuPy; fails without a GPU. ``-- cuda13`` for CUDA 13."""
    extras = [word for word in session.posargs if word in ("cuda12", "cuda13")] or ["cuda12"]
    arguments = [word for word in session.posargs if word not in extras]
    _install(session, "-e", f".[test,{extras[0]}]")
    every_case = {"KMEANS_XP_FUZZ": "1"}
    session.run("python", "-m", "pytest", "--library", "cupy", *arguments, env=every_case)


@nox.session(default=False)
def cupy_emulated(session: nox.Session) -> None:
    """The tests of array code on CuPy, with a GPU emulated by the folder CUPY_ON_CPU."""
    if "CUPY_ON_CPU" not in os.environ:
        session.error("set CUPY_ON_CPU to the folder that holds the emulation's setup and run")
    emulation = Path(os.environ["CUPY_ON_CPU"])
    # pip compiles nothing where the answer to "no compile" is no.
    env = {"CUPY_ON_CPU_VENV": session.virtualenv.location, "PIP_NO_COMPILE": "0"}
    # The emulation's setup installs the rest, by pip.
    _install(session, "-e", ".[test]", "pip")
    session.run_install(str(emulation / "setup"), env=env, external=True)
    run = str(emulation / "run")
    pytest = (run, "python", "-m", "pytest", "--library", "cupy")
    # Fresh memory is NaN, and every access is checked: hardly slower than without.
    env |= WAIT_ASLEEP | FEW_EXAMPLES | {"CUPY_ON_CPU_POISON": "1", "CUPY_ON_CPU_CHECK": "1"}
    session.run(*pytest, *TWO_WORKERS, *session.posargs, env=env, external=True)
    two = {"CUPY_ON_CPU_DEVICES": "2"}
    session.run(*pytest, *DEVICE_TESTS, env=env | two, external=True)


@nox.session(default=False)
def free_threaded(session: nox.Session) -> None:
    """The tests of threads and of fits on a Python without the GIL."""
    # There is no released wheel of safetensors for such a Python, and no thread needs it.
    needed = [name for name in PYPROJECT["project"]["dependencies"] if "safetensors" not in name]
    tools = ("numba", "array-api-strict", "hypothesis", "pytest", "pytest-benchmark")
    _install(session, *needed, *tools)
    session.install("--no-deps", "-e", ".")
    fit = "import sys, numpy, kmeans_xp; kmeans_xp.KMeans(2).fit(numpy.eye(4)); "
    for numba in "01":
        env = {"KMEANS_XP_NUMBA": numba}
        # A compiled module that does not know such a Python turns the GIL on.
        session.run("python", "-c", fit + "assert not sys._is_gil_enabled()", env=env)
        _pytest(session, "--library", "numpy", *THREAD_TESTS, env=env)
    _pytest(session, "--library", "numpy", *FIT_TESTS, env=FEW_EXAMPLES)


@nox.session(default=False)
def random_jobs(session: nox.Session) -> None:
    """Random fits against scikit-learn and long doubles, for two minutes."""
    _install(session, "-e", ".[cpu]")
    session.run("python", "-m", "benchmarks.random_jobs", "--minutes", "2", *session.posargs)


# Only uv can be asked for the lowest versions.
@nox.session(default=False, venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The lowest version of every package that pyproject.toml names."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    # Old packages warn of what has changed in the newer ones that they need.
    # scikit-learn 1.6 makes one of its checks with SciPy 1.14 and later only.
    chosen = ("-W", "default", "-k", "not check_array_api_input", *VERSION_TESTS)
    _pytest(session, "-n", "2", "--library", "numpy", *chosen, env=FEW_EXAMPLES)


@nox.session(default=False, venv_backend="uv")
def newest(session: nox.Session) -> None:
    """The newest version of every package, also before its release."""
    session.install("--prerelease", "allow", "--upgrade", "-e", ".[test]")
    _pytest(session, "-n", "2", "--library", "numpy", *VERSION_TESTS, env=FEW_EXAMPLES)


@nox.session(default=False)
def interop(session: nox.Session) -> None:
    """The packages that users of k-means use beside it, of which none may be missing."""
    _install(session, "-e", ".[test]", *INTEROP)
    files = ("tests/test_interop.py", "tests/test_docs.py", "tests/test_equal_inertia.py")
    chosen = (*files, "-k", "interop or faiss")
    _pytest(session, *chosen, env={"KMEANS_XP_TEST_INTEROP": "all"})


@nox.session(default=False)
def sklearn_suite(session: nox.Session) -> None:
    """scikit-learn's own tests of k-means and of its users, on this package in its place."""
    _install(session, "-e", ".", "array-api-strict", "hypothesis", "pytest", "pytest-xdist")
    _sklearn_suite(session, *SKLEARN_KMEANS, *SKLEARN_USERS)
    _sklearn_suite(session, "--arrays", "array_api_strict", *SKLEARN_KMEANS)


def _sklearn_suite(session: nox.Session, *arguments: str) -> None:
    find = "import sklearn; print(sklearn.__path__[0])"
    sklearn = str(session.run("python", "-c", find, silent=True)).strip()
    # scikit-learn's tests are not to run by this project's pytest settings and conftest.py,
    # above them when the environment lies in this folder.
    isolated = ("-c", os.devnull, "--rootdir", sklearn, "--confcutdir", sklearn)
    plugins = ("-p", "tests.sklearn_suite", "-p", "no:cacheprovider", "-n", "2")
    env = {"SKLEARN_RUN_FLOAT32_TESTS": "1"}
    _pytest(session, "-q", *plugins, *isolated, *arguments, env=env)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """The share of lines that the tests on NumPy run, with a floor in pyproject.toml."""
    _install(session, "-e", ".[test]", "coverage>=7.10")
    env = FEW_EXAMPLES | {"COVERAGE_FILE": str(Path(session.create_tmp()) / ".coverage")}
    is_new = "import sys; print(sys.version_info >= (3, 12))"
    if session.run("python", "-c", is_new, silent=True).strip() == "True":
        env["COVERAGE_CORE"] = "sysmon"  # far faster than a tracer
    session.run("coverage", "erase", env=env)
    run = ("coverage", "run", "-m", "pytest", "-n", "2", "--library", "numpy")
    session.run(*run, *session.posargs, env=env)
    session.run("coverage", "combine", "-q", env=env)
    session.run("coverage", "report", "--skip-covered", env=env)


@nox.session(default=False)
def package(session: nox.Session) -> None:
    """The source archive, and the wheel that it makes: complete, and enough for a fit."""
    session.install("build[uv]")
    folder = Path(session.create_tmp())
    for older in folder.glob("kmeans_xp-*"):
        older.unlink()
    session.run("python", "-m", "build", "--installer", "uv", "--outdir", str(folder))
    (wheel,) = folder.glob("*.whl")
    (archive,) = folder.glob("*.tar.gz")
    # Files that are no modules: CUDA's sources, the report's style, the mark of types.
    tracked = session.run("git", "ls-files", "kmeans_xp", silent=True, external=True).split()
    absent = set(tracked) - set(zipfile.ZipFile(wheel).namelist())
    if absent:
        session.error(f"{wheel.name}, made from {archive.name}, lacks {', '.join(sorted(absent))}")
    session.install("--force-reinstall", str(wheel))
    code = "import numpy as np, kmeans_xp as k; print(k.KMeans(2).fit(np.eye(4)), k.__file__)"
    with session.chdir(folder):  # away from the folder of the package
        session.run("python", "-c", code)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """What README.md shows first: a picture from a real table, on a plain install."""
    _, _, command = Path("README.md").read_text().partition(".venv/bin/kmeans-xp ")
    arguments = command.partition("\n")[0].split()
    picture = Path(arguments[-1])
    picture.unlink(missing_ok=True)
    session.install(".[cli,plot]")
    session.run("kmeans-xp", *arguments)
    if not picture.exists():
        session.error(f"{picture} was not drawn")


#: of what users install with this package; others are looked at by a person first
LICENCES = ("0BSD", "Apache", "BSD", "HPND", "ISC", "MIT", "MPL", "PSF", "Python Software")
#: packages whose metadata name none, looked at: BSD
UNNAMED = ("kneed",)


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Known vulnerabilities, by the network, and licences of all that users install."""
    _install(session, ".[cli,cpu,dask,plot]", "pip-audit", "pip-licenses")
    allowed = ("--partial-match", f"--allow-only={';'.join(LICENCES)}")
    session.run(
        "pip-licenses", "--from=mixed", "--ignore-packages", "kmeans_xp", *UNNAMED, *allowed
    )
    # Without --strict, packages that cannot be looked up pass. This one is on no index yet.
    found = Path(session.create_tmp()) / "requirements.txt"
    freeze = ("python", "-m", "pip", "freeze", "--exclude", "kmeans_xp")
    found.write_text(str(session.run(*freeze, silent=True)))
    exact = ("--strict", "--disable-pip", "--no-deps", "-r", str(found))
    session.log("pip-audit asks pypi.org; without an answer this session fails, and shows nothing")
    session.run("pip-audit", *exact, *session.posargs)


#: the tests that mutate files, and those that draw fits
FUZZED = ("tests/estimators/test_damaged_models.py", "tests/cli/test_damaged_tables.py")
DRAWN = "tests/estimators/test_properties.py"


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """A million mutations of files, thousands of drawn fits, and random jobs for an hour."""
    _install(session, "-e", ".[test]")
    # Of files there are 16,000 in the other sessions.
    times = {"KMEANS_XP_FUZZ": os.environ.get("KMEANS_XP_FUZZ", "65")}
    _pytest(session, "-n", "2", "--library", "numpy", *FUZZED, env=times)
    files = ("tests/kernels/test_other_processors.py", "tests/test_long_runs.py")
    longer = (*files, "-k", "other_processors or thousands_of_fits")
    _pytest(session, "--library", "numpy", *longer, env=times)
    _pytest(session, "-n", "2", DRAWN, "--library", "numpy", "--hypothesis-profile=thorough")
    session.run("python", "-m", "benchmarks.random_jobs", "--minutes", "60")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The pages, into docs/_build/html; runs every example; warnings are errors."""
    _install(session, "-e", ".[docs]")
    options = ("-W", "--keep-going", "-b", "html", "-d", "docs/_build/doctrees")
    session.run("sphinx-build", *options, *session.posargs, "docs", "docs/_build/html")
