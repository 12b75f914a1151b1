"""The authors' file as nats_bench writes and reads it, against the table inside this package."""

import bz2
import pickle

import numpy as np
import pytest
from relied import relied_on

from nasbench_snas.errors import DataError, GenotypeError
from nasbench_snas.truth.classes import classes
from nasbench_snas.truth.keys import key_to_string
from nasbench_snas.truth.nats import TopologyBenchmark
from nasbench_snas.truth.published import published

pytestmark = pytest.mark.tools

KEYS = ("333132", "000000", "322133", "343210")
SEEDS = (777, 888, 999)
NAME = "NATS-tss-v1_0-3ffb9-simple"


def trial(dataset, seed, accuracies, epochs, text):
    """Return one training in the package's own class; ``accuracies``: set to its last value."""
    from nats_bench.api_utils import ResultsCount

    curve = dict.fromkeys(range(epochs), 50.0)
    ones = dict.fromkeys(range(epochs), 1.0)
    arch = {"arch_str": text}
    made = ResultsCount(dataset, None, curve, ones, 1.5, 220.11969, arch, seed, epochs, [0.01])
    made.update_train_info(curve, curve, ones, ones)
    for part, last in accuracies.items():
        keyed = {f"{part}@{e}": last * (e + 1) / epochs for e in range(epochs)}
        made.update_eval(keyed, dict.fromkeys(keyed, 1.0), dict.fromkeys(keyed, 1.0))
    return made


def write_benchmark(folder, keys=KEYS, epochs=200):
    """Write a folder in nats_bench's format with the published accuracies of ``keys``."""
    from nats_bench.api_utils import ArchResults, pickle_save

    folder.mkdir()
    texts = [key_to_string(key) for key in keys]
    pickle_save({"meta_archs": texts}, folder / "meta", ext=".pickle.pbz2")
    for index, (key, text) in enumerate(zip(keys, texts, strict=True)):
        result = ArchResults(index, text)
        for dataset in ("cifar10", "cifar100", "imagenet16_120"):
            theirs = {"cifar10": "cifar10-valid", "imagenet16_120": "ImageNet16-120"}
            name = theirs.get(dataset, dataset)
            record = published().record(key, dataset)
            for place, value in zip(record.seeds, record.accuracies, strict=True):
                parts = {"x-valid": value, "ori-test": value + 1}
                parts |= {} if dataset == "cifar10" else {"x-test": value - 1}
                made = trial(name, SEEDS[place], parts, epochs, text)
                result.update(name, SEEDS[place], made)
        full = trial("cifar10", 777, {"ori-test": 90.0}, epochs, text)
        result.update("cifar10", 777, full)
        file = folder / f"{index:06d}"
        pickle_save({str(epochs): result.state_dict()}, file, ext=".pickle.pbz2")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("nats_bench")
    return write_benchmark(tmp_path_factory.mktemp("nats") / NAME)


@pytest.mark.parametrize("key", KEYS)
def test_their_file_and_our_table_agree_where_they_overlap(folder, key):
    benchmark = TopologyBenchmark(str(folder))
    names = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16_120": "ImageNet16-120"}
    for ours, theirs in names.items():
        record = published().record(key, ours)
        found = benchmark.measured(key, theirs, "valid-accuracy")
        what = f"valid-accuracy of {theirs} is the mean over seeds after the last epoch"
        assert found.mean == pytest.approx(record.accuracy), relied_on("nats_bench", what)
        assert found.seeds == len(record.seeds)
    assert benchmark.measured(key, "cifar100", "test-accuracy").mean == pytest.approx(
        published().record(key, "cifar100").accuracy - 1
    )
    full = benchmark.measured(key)
    assert (full.mean, full.seeds) == (90.0, 1)
    assert benchmark.multiply_adds(key) == 220_119_680


def test_what_the_file_lacks_is_our_error(folder):
    benchmark = TopologyBenchmark(folder)
    with pytest.raises(DataError, match="no such architecture"):
        benchmark.measured("444444")
    with pytest.raises(DataError, match="cannot read the record"):
        benchmark.measured(KEYS[0], epochs=12)
    with pytest.raises(DataError, match="valid-accuracy"):
        benchmark.measured(KEYS[0], "cifar10", "valid-accuracy")
    with pytest.raises(GenotypeError):
        benchmark.measured("nonsense")


def test_a_missing_and_a_truncated_record_are_our_error(tmp_path):
    pytest.importorskip("nats_bench")
    made = write_benchmark(tmp_path / NAME, KEYS[:2])
    first, second = made / "000000.pickle.pbz2", made / "000001.pickle.pbz2"
    second.write_bytes(bz2.compress(pickle.dumps({"200": {}})[:-3]))
    first.unlink()
    benchmark = TopologyBenchmark(made)
    for key in KEYS[:2]:
        with pytest.raises(DataError, match="cannot read the record"):
            benchmark.measured(key)
    (made / "meta.pickle.pbz2").write_bytes(b"BZh9 torn")
    with pytest.raises(DataError, match="cannot read"):
        TopologyBenchmark(made)


def test_the_size_space_is_refused(tmp_path):
    api_utils = pytest.importorskip("nats_bench.api_utils")
    made = tmp_path / "NATS-sss-v1_0-50262-simple"
    made.mkdir()
    sizes = {"meta_archs": ["8:8:8:8:8", "8:8:8:8:16"]}
    api_utils.pickle_save(sizes, made / "meta", ext=".pickle.pbz2")
    with pytest.raises(DataError, match="not of the topology space"):
        TopologyBenchmark(made)


def test_minus_one_is_answered_for_what_we_never_ask(folder):
    import nats_bench

    api = nats_bench.create(str(folder), "tss", fast_mode=True, verbose=False)
    text = key_to_string(KEYS[0])
    what = "query_index_by_arch answers -1 for other spellings and numpy integers"
    for asked in (text + "\n", np.int64(0), "|none~0|"):
        assert api.query_index_by_arch(asked) == -1, relied_on("nats_bench", what)
    last = api.get_unique_str("no architecture")
    assert last == api.get_unique_str(len(KEYS) - 1), relied_on("nats_bench", "-1 is the last one")


@pytest.mark.slow
def test_their_unique_strings_part_cells_of_equal_function():
    structures = pytest.importorskip("nats_bench.genotype_utils")
    keys = [np.base_repr(index, 5).zfill(6) for index in range(5**6)]
    unique = [
        structures.topology_str2structure(key_to_string(key)).to_unique_str(consider_zero=True)
        for key in keys
    ]
    what = "to_unique_str takes 6,466 values"
    assert len(set(unique)) == 6466, relied_on("nats_bench", what)
    ours = classes(shift=False)
    by_class: dict[int, set[str]] = {}
    for name, own in zip(unique, ours, strict=True):
        by_class.setdefault(own, set()).add(name)
    assert sum(len(names) > 1 for names in by_class.values()) > 500
