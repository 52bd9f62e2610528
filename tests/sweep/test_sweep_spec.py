import pytest
from pydantic import ValidationError

from memprop.errors import SpecError
from memprop.graph import activations
from memprop.sweep.plan import trials
from memprop.sweep.spec import GridSpec, SweepSpec, load_spec

ACTIVATIONS = ", ".join(activations.ACTIVATIONS)

SPEC = """\
name = "depth_batch"
title = "Training memory against inference memory"

[grid]                                  # a list is an axis, a scalar is fixed
depth = [1, 2, 4]
batch = [32, 128]
width = 256
mode = ["train", "inference"]
schedule = ["textbook", "lean"]
activation = "relu"
optimizer = "sgd"
dtype = "float32"

[measure]
witnesses = ["memory_profiler", "tracemalloc", "kernel"]
steps = 5
repeats = 3
timeout = "2 min"
memory_limit = "4 GiB"

[data]
source = "digits"
"""


@pytest.fixture
def load(tmp_path):
    def from_text(text):
        path = tmp_path / "spec.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_spec(path)

    return from_text


@pytest.fixture
def mistake(load, tmp_path):
    """The message about a text, without the file that it must begin with."""

    def of(text):
        with pytest.raises(SpecError) as caught:
            load(text)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / 'spec.toml'}")
        assert "\n" not in message
        return message.removeprefix(f"{tmp_path / 'spec.toml'}")

    return of


def test_a_spec_is_read_as_it_is_written(load):
    spec = load(SPEC)
    assert (spec.name, spec.title) == ("depth_batch", "Training memory against inference memory")
    assert spec.grid[0].depth == (1, 2, 4)
    assert spec.grid[0].width == (256,)
    assert spec.grid[0].mode == ("train", "inference")
    assert spec.measure.timeout == 120.0
    assert spec.measure.memory_limit == 4 * 2**30
    assert spec.data.source == "digits"
    assert spec.seed == 0


def test_what_is_left_out_has_a_default(load):
    spec = load('name = "a"\ntitle = "b"\n[grid]\ndepth = 1\nbatch = 2\nwidth = 3\n')
    assert spec.grid == (GridSpec(depth=(1,), batch=(2,), width=(3,)),)
    assert spec.grid[0].optimizer == ("none",)
    assert spec.grid[0].bias == (True,)
    assert spec.measure.memory_limit is None
    assert spec.data.source == "digits"


def test_witnesses_are_put_in_one_order(load):
    assert load(SPEC).measure.witnesses == ("tracemalloc", "kernel", "memory_profiler")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(load):
    text = SPEC.replace("\n", "\r\n").encode("utf-8-sig")
    assert load(text) == load(SPEC)


def test_a_spec_cannot_be_changed(load):
    with pytest.raises(ValidationError, match="frozen"):
        load(SPEC).name = "another"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("depth = [1, 2, 4]", "depht = [1, 2, 4]",
         ", line 5: grid.depht: unknown key, did you mean 'depth'? Known: depth, batch, width, "
         "mode, schedule, activation, optimizer, loss, bias, l2, dtype, "
            "update, dropout, dropout_mask, norm, residual"),
        ("steps = 5", "stepps = 5",
         ", line 16: measure.stepps: unknown key, did you mean 'steps'? "
         "Known: witnesses, steps, repeats, timeout, memory_limit"),
        ("[measure]", "[mesure]",
         ", line 14: mesure: unknown key, did you mean 'measure'? "
         "Known: name, title, grid, measure, data, seed, imports"),
        ('source = "digits"', "seed = 3",
         ", line 22: data.seed: unknown key here, it belongs above all tables"),
        ('source = "digits"', "steps = 3",
         ", line 22: data.steps: unknown key here, it belongs into [measure]"),
        ('source = "digits"', "qqq = 3", ", line 22: data.qqq: unknown key. Known: source"),
        ("width = 256\n", "", ", line 4: grid.width: this key is missing, "
         "expected a positive integer up to 2147483647"),
        ('name = "depth_batch"\n', "", ": name: this key is missing, expected a name of letters, "
         "digits, '_', '-' and '.', for it names a folder"),
        ("width = 256", 'width = "256"',
         ", line 7: grid.width: expected a positive integer up to 2147483647, got '256'"),
        ("width = 256", "width = 256.0",
         ", line 7: grid.width: expected a positive integer up to 2147483647, got 256.0"),
        ("width = 256", "width = true",
         ", line 7: grid.width: expected a positive integer up to 2147483647, got True"),
        ("width = 256", "width = 0",
         ", line 7: grid.width: expected a positive integer up to 2147483647, got 0"),
        ("width = 256", "width = 9_999_999_999",
         ", line 7: grid.width: expected a positive integer up to 2147483647, got 9999999999"),
        ("batch = [32, 128]", "batch = [32, -128]",
         ", line 6: grid.batch: expected a positive integer up to 2147483647, got -128"),
        ("batch = [32, 128]", "batch = [\n  32,\n  1.5,\n]",
         ", line 6: grid.batch: expected a positive integer up to 2147483647, got 1.5"),
        ("batch = [32, 128]", "batch = []",
         ", line 6: grid.batch: the list is empty: give at least one value"),
        ("batch = [32, 128]", "batch = [32, 64, 32]",
         ", line 6: grid.batch: 32 is listed more than once: list every value once"),
        ('activation = "relu"', 'activation = "rleu"',
         ", line 10: grid.activation: unknown activation 'rleu': did you mean 'relu'? "
         f"Known: {ACTIVATIONS}"),
        ('activation = "relu"', "activation = 3",
         f", line 10: grid.activation: expected one of {ACTIVATIONS}, got 3"),
        ('optimizer = "sgd"', 'optimizer = "adamm"',
         ", line 11: grid.optimizer: unknown optimizer 'adamm': did you mean 'adam'? "
         "Known: none, sgd, momentum, adam, adamw"),
        ('optimizer = "sgd"', 'loss = "huber"',
         ", line 11: grid.loss: unknown loss 'huber'. Known: cross_entropy, mse"),
        ('optimizer = "sgd"', "bias = 1", ", line 11: grid.bias: expected true or false, got 1"),
        ('optimizer = "sgd"', "l2 = -0.5",
         ", line 11: grid.l2: expected a finite number of at least 0, got -0.5"),
        ('optimizer = "sgd"', "l2 = nan",
         ", line 11: grid.l2: expected a finite number of at least 0, got nan"),
        ('optimizer = "sgd"', "l2 = [0, 0.0]",
         ", line 11: grid.l2: 0.0 is listed more than once: list every value once"),
        ('"float32"', '"float16"', ", line 12: grid.dtype: unknown dtype 'float16': "
         "did you mean 'float64'? Known: float32, float64"),
        ('mode = ["train", "inference"]', 'mode = "test"',
         ", line 8: grid.mode: unknown mode 'test'. Known: train, inference, simulate"),
        ('["textbook", "lean"]', '["lean", "inference"]',
         ", line 9: grid.schedule: 'inference' cannot train: "
         "leave it out, mode 'inference' takes it by itself"),
        ('"memory_profiler", ', '"memray", ',
         ", line 15: measure.witnesses: unknown witness 'memray'. "
         "Known: tracemalloc, kernel, psutil, psutil_uss, memory_profiler"),
        ('"memory_profiler", ', '"kernel", ', ", line 15: measure.witnesses: "
         "'kernel' is listed more than once: list every value once"),
        ("repeats = 3", "repeats = [3]", ", line 17: measure.repeats: "
         "expected a positive integer up to 2147483647, got [3]"),
        ('"2 min"', "true",
         ", line 18: measure.timeout: expected a duration such as '60 s', got True"),
        ('"2 min"', '"1000 h"',
         ", line 18: measure.timeout: expected at most 500 h, got '1000 h'"),
        ('"4 GiB"', "[4]",
         ", line 19: measure.memory_limit: expected a size such as '4 GiB', got [4]"),
        ('"4 GiB"', '"0 GiB"', ", line 19: measure.memory_limit: "
         "expected more than 0 B and less than 2^63 B, got '0 GiB'"),
        ('"digits"', '""', ", line 22: data.source: expected \"digits\" or a path, got ''"),
        ('"depth_batch"', '"../up"', ", line 1: name: expected a name of letters, "
         "digits, '_', '-' and '.', for it names a folder, got '../up'"),
        ("[grid] ", "seed = -1\n[grid] ",
         ", line 4: seed: expected an integer of at least 0, got -1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_place_value_and_remedy(mistake, old, new, message):
    assert old in SPEC
    assert mistake(SPEC.replace(old, new)) == message


@pytest.mark.parametrize(("old", "new"), [('"2 min"', '"soon"'), ('"2 min"', "0")])
def test_a_duration_must_be_one(mistake, old, new):
    message = mistake(SPEC.replace(old, new))
    assert message.startswith(f", line 18: measure.timeout: {new.replace(chr(34), chr(39))} is no")


def test_a_size_must_be_one(mistake):
    message = mistake(SPEC.replace('"4 GiB"', '"big"'))
    assert message.startswith(", line 19: measure.memory_limit: 'big' is no size")


def test_a_table_must_be_one(mistake):
    message = mistake('name = "a"\ntitle = "b"\ngrid = 3\n')
    assert message == ", line 3: grid: expected a table [grid], or several [[grid]], got 3"


def test_a_missing_table_is_named(mistake):
    message = mistake('name = "a"\ntitle = "b"\n')
    assert message == ": grid: this key is missing, expected a table [grid], or several [[grid]]"


def test_keys_are_found_in_inline_tables_dotted_and_quoted(mistake):
    inline = 'name = "a"\ntitle = "b"\ngrid = {depth = 0, batch = 1, width = 1}\n'
    dotted = 'name = "a"\ntitle = "b"\ngrid.batch = 1\ngrid.width = 1\ngrid . "depth" = 0\n'
    assert mistake(inline).startswith(", line 3: grid.depth: expected a positive integer")
    assert mistake(dotted).startswith(", line 5: grid.depth: expected a positive integer")


def test_of_several_mistakes_the_first_in_the_file_is_told(mistake):
    text = SPEC.replace("width = 256", "width = 0").replace("steps = 5", "steps = 0")
    assert mistake(text).startswith(", line 7: grid.width")


def test_a_long_value_is_cut_short(mistake):
    assert len(mistake(SPEC.replace("width = 256", f'width = "{"x" * 5000}"'))) < 160


def test_broken_toml_is_told_with_line_and_column(mistake):
    message = mistake(SPEC.replace("width = 256", "width 256"))
    assert message.startswith(": this is not valid TOML: ")
    assert "line 7" in message


def test_a_key_written_twice_is_a_mistake(mistake):
    assert "line 8" in mistake(SPEC.replace("width = 256", "width = 256\nwidth = 512"))


def test_another_encoding_is_told(mistake):
    message = mistake('name = "Größe"'.encode("latin-1"))
    assert message == ": expected UTF-8, but byte 10 is 0xf6"


def test_an_empty_file_lacks_a_name(mistake):
    assert mistake("").startswith(": name: this key is missing")


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.toml: there is no such file"):
        load_spec(tmp_path / "nowhere.toml")
    with pytest.raises(SpecError, match="this is a folder, expected a TOML file"):
        load_spec(tmp_path)


def test_a_spec_can_be_made_in_python_too():
    grid = GridSpec(depth=(1, 2), batch=(8,), width=(16,))
    assert SweepSpec(name="a", title="b", grid=grid).grid[0].depth == (1, 2)


def test_of_several_grids_each_is_run_and_what_they_share_once(load):
    grid = "[[grid]]\ndepth = [1, 2]\nbatch = 2\nwidth = 3\n"
    other = "[[grid]]\ndepth = [2, 3]\nbatch = 2\nwidth = 3\n"
    spec = load(f'name = "a"\ntitle = "b"\n{grid}{other}')
    assert [trial.depth for trial in trials(spec)] == [1, 2, 3]


def test_a_mistake_in_one_of_several_grids_is_named(load):
    good = "[[grid]]\ndepth = 1\nbatch = 2\nwidth = 3\n"
    with pytest.raises(SpecError, match=r"grid\.depth: expected a positive integer.*got -4"):
        load(f'name = "a"\ntitle = "b"\n{good}{good.replace("depth = 1", "depth = -4")}')
    with pytest.raises(SpecError, match="grid: the list is empty"):
        load('name = "a"\ntitle = "b"\ngrid = []\n')
