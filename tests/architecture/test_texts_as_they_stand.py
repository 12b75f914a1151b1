"""Genotypes in the texts of real files: nearly all are read, and none is read wrong."""

import io
import random
import sys
import time

import pytest
from texts_as_they_stand import BODIES, DARTS_V2, LAYOUTS, PC_DARTS, STRING

from nasbench_snas.architecture.reading.scan import scan
from nasbench_snas.architecture.text import load_genotype, parse_genotype
from nasbench_snas.errors import GenotypeError

TEXTS = {(b, t): layout(text) for b, (text, _) in BODIES.items() for t, layout in LAYOUTS.items()}


def test_of_real_texts_at_least_95_percent_are_read_and_none_wrong():
    wrong, refused = [], {}
    for (body, layout), text in TEXTS.items():
        try:
            found = parse_genotype(text)
        except GenotypeError as error:
            refused[body, layout] = str(error).splitlines()[0]
            continue
        if dict(found.cells) != BODIES[body][1]:
            wrong.append((body, layout))
    assert not wrong
    listed = "\n".join(f"{where}: {why}" for where, why in refused.items())
    assert len(TEXTS) >= 12 * 12
    assert len(refused) <= 0.05 * len(TEXTS), f"{len(refused)} of {len(TEXTS)} refused:\n{listed}"


def test_a_truncated_text_is_refused_or_still_whole():
    """Cut at random, 1,200 texts: a cell that differs from the whole one would be read wrong."""
    rng = random.Random(0)
    keys = sorted(TEXTS)
    whole = refused = 0
    for _ in range(1200):
        key = rng.choice(keys)
        text = TEXTS[key]
        low = rng.randrange(len(text))
        cut = text[:low] if rng.random() < 0.6 else text[low:]
        try:
            found = parse_genotype(cut)
        except GenotypeError:
            refused += 1
            continue
        assert dict(found.cells) == BODIES[key[0]][1], (key, cut)
        whole += 1
    assert refused > 500 and whole > 50, (refused, whole)


@pytest.mark.parametrize(
    "text",
    [
        DARTS_V2.replace("('sep_conv_3x3', 0)", "(0, 'sep_conv_3x3')"),
        "Genotype(normal=[('skip_connect', 0, 2), ('skip_connect', 1, 2)], normal_concat=[2])",
        "Genotype(normal=[('skip_connect', 2, 0), ('skip_connect', 2, 1)], normal_concat=[2])",
        '{"normal": [["skip_connect", 0, 2], ["skip_connect", 1, 2]], "normal_concat": [2]}',
        "CNNGenotype(normal_0=[('skip_connect', 2, 0), ('none', 2, 1)], normal_0_concat=[2])",
        "FairDARTS(normal=[('skip_connect', 0, 2), ('skip_connect', 1, 2)], normal_concat=[2])",
        STRING.replace("nor_conv_3x3~0|+|nor_conv_3x3~0", "0~nor_conv_3x3|+|0~nor_conv_3x3"),
        STRING.replace("avg_pool_3x3~1", "avg_pool_3x3~0"),
        "[4, 0, 3, 1, 4, 3]",
        DARTS_V2.replace("reduce=", "reduce_bottleneck=[('skip_connect', 0)], reduce="),
        DARTS_V2.replace("reduce_concat=", "reduce_concat=range(2, 5), reduce_concat="),
    ],
)
def test_what_can_be_read_in_two_ways_or_swaps_its_order_is_refused(text):
    with pytest.raises(GenotypeError):
        parse_genotype(text)


def test_three_entries_are_read_in_the_order_of_their_type_and_refused_with_the_way_out():
    pair = "normal=[('skip_connect', {}), ('max_pool_3x3', {})], normal_concat=[2]"
    plain = parse_genotype(f"Genotype({pair.format(0, 1)})")
    assert parse_genotype(f"CNNGenotype({pair.format('0, 2', '1, 2')})") == plain
    assert parse_genotype(f"FairDARTS({pair.format('2, 0', '2, 1')})") == plain
    with pytest.raises(GenotypeError, match="which is the source") as caught:
        parse_genotype(f"Genotype({pair.format('0, 2', '1, 2')})")
    assert "CNNGenotype (operation, source, target)" in str(caught.value)
    assert "FairDARTS (operation, target, source)" in str(caught.value)
    assert "as the type's name" in str(caught.value)


def _file(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    return file


def test_a_module_of_several_is_listed_and_one_is_named(tmp_path):
    text = f"A = {DARTS_V2}\nB = {PC_DARTS}\n# B = {DARTS_V2}\nC = B\nD = Genotype(normal=[('x"
    file = _file(tmp_path, "genotypes.py", text)
    with pytest.raises(GenotypeError) as caught:
        load_genotype(file)
    assert "4 genotypes, and they differ" in caught.value.what
    assert "A (line 1), B (line 2), B (line 3, a comment), D (line 5, not readable)" in str(
        caught.value
    )
    for name in ("B", "C", "2"):
        found = load_genotype(f"{file}:{name}")
        assert dict(found.cells) == BODIES["PC-DARTS"][1] and found.name == "B"
    assert load_genotype(f"{file}:3") == load_genotype(f"{file}:A")
    with pytest.raises(GenotypeError, match="no genotype is called 'Bb'") as caught:
        load_genotype(f"{file}:Bb")
    assert "'B'" in str(caught.value)
    with pytest.raises(GenotypeError, match="line 5"):
        load_genotype(f"{file}:D")


def test_of_a_log_the_last_counts_and_its_line_is_said(tmp_path):
    log = f"12:00 genotype = {DARTS_V2}\n12:01 loss 1\n12:02 genotype = {PC_DARTS}\n12:03 end\n"
    found = load_genotype(_file(tmp_path, "search.txt", log))
    assert dict(found.cells) == BODIES["PC-DARTS"][1]
    assert found.notes == ("line 3: the last of 2 genotypes of a log",)
    cut = log[: log.index("12:03") - 40]
    with pytest.raises(GenotypeError, match="line 3"):  # the run was killed while it wrote
        load_genotype(_file(tmp_path, "cut.txt", cut))
    bare = log.replace("12:00 ", "").replace("12:02 ", "")
    assert load_genotype(_file(tmp_path, "nohup.out", bare)) == found
    with pytest.raises(GenotypeError, match="2 genotypes, and they differ"):
        load_genotype(_file(tmp_path, "notes.md", bare))


def test_texts_of_two_genotypes_are_never_read_silently():
    rng = random.Random(1)
    names = [name for name in BODIES if name not in ("numpy 2", "aw_nas", "nni", "a layout note")]
    silent = read = 0
    for _ in range(200):
        one, two = rng.sample(names, 2)
        layout = LAYOUTS[rng.choice(sorted(LAYOUTS))]
        if BODIES[one][1] == BODIES[two][1]:
            continue
        text = layout(BODIES[one][0]) + "\n" + layout(BODIES[two][0])
        try:
            found = parse_genotype(text)
        except GenotypeError:
            continue
        read += 1
        silent += not any("of a log" in note for note in found.notes)
        assert dict(found.cells) == BODIES[two][1]
    assert silent == 0 and read > 0


def test_the_same_genotype_printed_twice_is_one():
    assert parse_genotype(f"{DARTS_V2}\nagain: {DARTS_V2}") == parse_genotype(DARTS_V2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark", "latin-1"])
def test_files_of_other_encodings_and_standard_input_are_read(encoding, tmp_path, monkeypatch):
    text = f"12:00 größe {DARTS_V2}\n"
    data = text.encode(encoding) if "mark" not in encoding else "\ufeff".encode("utf-16-be")
    data += text.encode("utf-16-be") if "mark" in encoding else b""
    file = tmp_path / "log.txt"
    file.write_bytes(data)
    assert dict(load_genotype(file).cells) == BODIES["DARTS"][1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert dict(load_genotype("-").cells) == BODIES["DARTS"][1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nor_conv_3x3", "The same operation is 'conv_3x3'"),
        ("SepConv_3x3", "The same operation is 'sep_conv_3x3'"),
        ("identity", "The same operation is 'skip_connect'"),
        ("sep_conv_9x9", "No space known here has it"),
        ("tanh", "recurrent"),
    ],
)
def test_only_true_aliases_are_suggested_for_an_unknown_operation(name, said):
    text = f"Genotype(normal=[('{name}', 0), ('skip_connect', 1)], normal_concat=[2])"
    with pytest.raises(GenotypeError, match="unknown operation") as caught:
        parse_genotype(text)
    assert said in str(caught.value) and "Did you mean" not in str(caught.value)


def test_what_is_dropped_is_said_in_text_and_json():
    text = (
        "Genotype(normal=[('skip_connect', 0, 0.5), ('skip_connect', 1, 0.25)], normal_concat=[2]"
    )
    weights = "the third entries, weights, were dropped"
    assert parse_genotype(text + ")").notes == (weights,)
    assert parse_genotype(text + ", connectN=None)").notes == (
        "field 'connectN' was dropped",
        weights,
    )
    data = '{"normal": [["skip_connect", 0, 0.5], ["skip_connect", 1, 0.25]], "normal_concat": [2]'
    assert parse_genotype(data + ', "accuracy": 97}').notes == (
        "field 'accuracy' was dropped",
        weights,
    )
    assert "compact tuple" in parse_genotype("(4, 0, 3, 1, 4, 3)").notes[0]


@pytest.mark.parametrize(
    "piece",
    [
        *("Genotype(normal=[", "Genotype(normal=[('", f"{DARTS_V2}\n", "genotype = "),
        *("f(#", "{'a", '{"a": {', "|a~0", "|abc", "[[['", "(", "x ", "{", "#\n", '\\"'),
    ],
)
def test_the_time_to_look_for_genotypes_is_linear(piece):
    """Four times the text takes less than nine times as long (a quadratic scan takes 16 times)."""

    def seconds(length):
        text = (piece * (length // len(piece) + 1))[:length]
        times = []
        for _ in range(3):
            start = time.process_time()
            scan(text)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(40_000) < 9 * seconds(10_000) + 0.05
