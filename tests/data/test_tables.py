"""Tables: how a file is written is found out, and each column has the type that the model's input has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.data.array_names import Columns
from workbench.data.dataset import dataset
from workbench.data.tables import read_table
from workbench.errors import InputError
from workbench.records import TEXT, Model, TensorSpec
from workbench.system.memory import memory

LIMIT = 2**20
WIDE = TensorSpec("x", "float32", (None, 3))
CODE = TensorSpec("code", TEXT, (None, 1))


def model(*inputs: TensorSpec) -> Model:
    return Model("m", "m", "onnx", inputs, (TensorSpec("o", "float32", (None, 3)),), 1, 1, "d")


def read(tmp_path, text, *inputs, group="", label=""):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, model(*inputs), LIMIT, Columns(label, group))


def refused(tmp_path, text, *inputs) -> str:
    with pytest.raises(InputError) as error:
        read(tmp_path, text, *inputs)
    assert "\n" not in error.value.message
    return error.value.message


@pytest.mark.parametrize("words", ["True,False", "true,false", "TRUE,FALSE"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
def test_true_and_false_are_numbers_for_a_numeric_input(tmp_path, words, dtype):
    yes, no = words.split(",")
    found, _ = read(tmp_path, f"a,b,y\n0,{yes},1\n1,{no},0\n", TensorSpec("x", dtype, (None, 2)))
    assert found["x"].dtype == np.dtype(dtype)
    assert found["x"].tolist() == [[0, 1], [1, 0]]


def test_true_and_false_among_numbers_are_numbers_too(tmp_path):
    found, _ = read(tmp_path, "a,b,c\n1,True,5\n2,0,6\n", WIDE)
    assert found["x"].tolist() == [[1, 1, 5], [2, 0, 6]]


def test_labels_of_true_and_false_are_classes(tmp_path):
    found, _ = read(tmp_path, "a,b,c,y\n1,2,3,True\n1,2,3,False\n", WIDE)
    assert found["y"].tolist() == [1, 0]
    assert found["y"].dtype == np.int64


@pytest.mark.parametrize(("dtype", "values", "range_"), [
    ("uint8", "0,399", "0 to 255"),
    ("uint8", "-1,3", "0 to 255"),
    ("int8", "0,128", "-128 to 127"),
    ("int32", "1,3000000000", "-2147483648 to 2147483647"),
    ("int64", "1,99999999999999999999", "-9223372036854775808 to 9223372036854775807"),
    ("int64", "1,9223372036854775808", "-9223372036854775808 to 9223372036854775807"),
    ("bool", "1,2", "0 to 1"),
])  # fmt: skip
def test_numbers_that_the_type_does_not_hold_are_refused_by_column_and_range(tmp_path, dtype, values, range_):
    first, second = values.split(",")
    says = refused(tmp_path, f"id,y\n{first},0\n{second},1\n", TensorSpec("id", dtype, (None, 1)))
    assert "The column 'id' of 't.csv' holds values from" in says
    assert range_ in says


def test_floats_that_the_type_does_not_hold_are_refused(tmp_path):
    says = refused(tmp_path, "v,y\n1,0\n70000,1\n", TensorSpec("v", "float16", (None, 1)))
    assert "The column 'v' of 't.csv' holds values from 1 to 70000, more than the type" in says


def test_whole_numbers_keep_every_digit(tmp_path):
    found, _ = read(tmp_path, "id\n9007199254740993\n-5\n", TensorSpec("id", "int64", (None,)))
    assert found["id"].tolist() == [9007199254740993, -5]


def test_whole_numbers_that_a_float_rounds_are_reported(tmp_path):
    found, reported = read(tmp_path, "a,b,c\n16777217,2,9223372036854775807\n4,5,16777216\n", WIDE)
    assert found["x"][0, 0] == 16777216
    assert reported == "; whole numbers rounded to the input's type: a, c"


@pytest.mark.parametrize("cells", [
    ["01234", "00501", "98765"], ["1e5", "007", "1.50"], ["NA", "nan", "null"], ["True", "false", "3"], ["a,b", 'say "x"', "ü"],
])  # fmt: skip
def test_text_stays_text(tmp_path, cells):
    path = tmp_path / "t.csv"
    pd.DataFrame({"code": cells, "y": range(len(cells))}).to_csv(path, index=False)
    found, _ = read_table(path, model(CODE), LIMIT)
    assert found["code"].tolist() == [[cell] for cell in cells]
    assert found["y"].tolist() == [0, 1, 2]


def test_text_and_numbers_in_one_table_each_keep_their_kind(tmp_path):
    age = TensorSpec("age", "float32", (None, 1))
    found, _ = read(tmp_path, "age,code,other,y\n30,007,1,0\n41,010,2,1\n", CODE, age)
    assert found["code"].tolist() == [["007"], ["010"]]
    assert found["age"].tolist() == [[30], [41]]
    assert "other" in found


@pytest.mark.parametrize(("separator", "decimal", "says"), [
    (",", ".", ""),
    (";", ".", "; read as separated by semicolons"),
    (";", ",", "; read as separated by semicolons and with decimal commas"),
    ("\t", ".", "; read as separated by tabs"),
    ("\t", ",", "; read as separated by tabs and with decimal commas"),
    ("|", ".", "; read as separated by bars"),
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_decimal_marks_encodings_and_line_ends(tmp_path, separator, decimal, says, encoding, end):
    rows = np.random.default_rng(0).normal(0, 1, (20, 3)).round(4)
    table = pd.DataFrame(rows, columns=["größe", "b", "c"]).assign(y=np.arange(20) % 3)
    path = tmp_path / "t.csv"
    table.to_csv(path, sep=separator, decimal=decimal, encoding=encoding, index=False, lineterminator=end)
    found, reported = read_table(path, model(WIDE), LIMIT)
    np.testing.assert_array_equal(found["x"], rows.astype(np.float32))
    assert found["y"].tolist() == table.y.tolist()
    assert reported == says


def test_quoted_cells_are_read(tmp_path):
    found, _ = read(tmp_path, '"a","b","c","y"\n"1","2.5","-3","1"\n"4","5","6","0"\n', WIDE)
    assert found["x"].tolist() == [[1, 2.5, -3], [4, 5, 6]]


@pytest.mark.parametrize("first", ["0.5,1.5,2.5\n", "1,2,3\n", "1e-3,-2,.5\n", "True,1,2\n"])
def test_a_missing_header_is_found_and_reported_and_no_row_is_lost(tmp_path, first):
    found, reported = read(tmp_path, first + "1,2,3\n4,5,6\n", WIDE)
    assert len(found["x"]) == 3
    assert "y" not in found
    assert "the first line holds values, not names" in reported


def test_without_names_and_with_other_columns_it_is_refused(tmp_path):
    says = refused(tmp_path, "0.5,1.5,2.5,1\n1,2,3,0\n", WIDE)
    assert "The first line of 't.csv' holds values, not names" in says
    assert "Add a first line of names: x_0, x_1 and so on, and y for the labels" in says


@pytest.mark.parametrize("header", ["0,1,2", "x_0,x_1,x_2", "a,b,c", "2019,2020,total", "# a,b,c"])
def test_names_are_names_even_where_they_are_numbers(tmp_path, header):
    found, reported = read(tmp_path, f"{header}\n7,8,9\n4,5,6\n", WIDE)
    assert found["x"].tolist() == [[7, 8, 9], [4, 5, 6]]
    assert "not names" not in reported


def test_a_table_of_text_alone_needs_a_known_name(tmp_path):
    assert read(tmp_path, "code\nred\nblue\n", CODE)[0]["code"].tolist() == [["red"], ["blue"]]
    says = refused(tmp_path, "red\nblue\n", CODE)
    assert (
        "whether the first line of 't.csv' (red) holds names or values. Name the columns after the model's inputs"
        in says
    )


@pytest.mark.parametrize("names", ["{},x_0,x_1,x_2", "x_0,x_1,x_2,{}"])
def test_a_column_without_a_name_feeds_nothing_and_is_reported(tmp_path, names):
    lines = [names.format(""), *(names.format(7 - row).replace("x_", str(row)) for row in range(3))]
    arrays, reported = read(tmp_path, "\n".join(lines), WIDE)
    assert arrays["x"].tolist() == [[10 * row + column for column in range(3)] for row in range(3)]
    assert "; a column without a name is not used" in reported


def test_row_numbers_as_pandas_writes_them_are_not_a_feature(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame(np.ones((4, 3)), columns=list("abc")).assign(y=0).to_csv(path)
    found, reported = read_table(path, model(WIDE), LIMIT)
    assert found["x"].shape == (4, 3)
    assert "numbers the rows, is left out" in reported


@pytest.mark.parametrize(("text", "inputs", "says"), [
    ("a,b,c\n1,2,3\n4,,6\n", [WIDE], "Line 3 of 't.csv' has an empty cell in the column 'b'"),
    ("a,b,c\n1,2,3\n4,5,NaN\n", [WIDE], "Line 3 of 't.csv' has an empty cell in the column 'c'"),
    ("a,b,c,y\n1,2,3,0\n4,5,6,\n", [WIDE], "Line 3 of 't.csv' has an empty cell in the column 'y'"),
    ("code,y\n,0\nx,1\n", [CODE], "Line 2 of 't.csv' has an empty cell in the column 'code'"),
    ("a,b,c\n1,2,3\n4,red,6\n", [WIDE], "The column 'b' of 't.csv' does not hold numbers: line 3 has 'red'"),
    ("a,b,c\n1,2,3\n4,inf,6\n", [WIDE], "The column 'b' of 't.csv' holds a number that is infinite or too large, in line 3"),
    ("id,y\n1,0\n2.5,1\n", [TensorSpec("id", "int64", (None, 1))], "takes whole numbers. The column 'id' of 't.csv' holds other numbers"),
    ("a,a,c\n1,2,3\n", [WIDE], "Two columns of 't.csv' are named 'a'"),
    ("a,b\n1,2,3\n1,2,3\n", [WIDE], "its first line has 2 cells, and line 2 has 3"),
    ("a,b,c\n", [WIDE], "has no lines below its names"),
    (b"a,b,c\n1,2,\xff\xfa\n", [WIDE], "it is not UTF-8"),
    ("a,b,c,sort\n1,2,3,0\n", [WIDE], "which has 4 columns. If one of them holds the labels, set 'label_column' to its name; the last one is 'sort'."),
    ("a,b,c,d,y\n1,2,3,4,0\n", [WIDE], "takes 3 values per line of 't.csv', and there are 4 columns for it"),
])  # fmt: skip
def test_what_does_not_fit_is_named_by_line_and_column(tmp_path, text, inputs, says):
    assert says in refused(tmp_path, text, *inputs)


def test_one_column_needs_no_separator(tmp_path):
    found, reported = read(tmp_path, "code\nred, big\nblue\n", CODE)
    assert found["code"].tolist() == [["red, big"], ["blue"]]
    found, reported = read(tmp_path, "id\n7\n8\n", TensorSpec("id", "int64", (None,)))
    assert (found["id"].tolist(), reported) == ([7, 8], "")


def test_longer_lines_further_down_are_refused(tmp_path):
    says = refused(tmp_path, "a,b,c\n" + "1,2,3\n" * 400 + "1,2,3,4\n", WIDE)
    assert "is not a readable CSV file" in says


def test_a_column_of_groups_is_handed_on_and_feeds_nothing(tmp_path):
    found, reported = read(tmp_path, "a,b,site,c,y\n1,2,north,3,0\n4,5,south,6,1\n", WIDE, group="site")
    assert found["site"].tolist() == ["north", "south"]
    assert found["x"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert "not used" not in reported


def test_a_file_over_the_limit_is_refused_with_the_option(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "1,2,3\n" * 200_000)
    with pytest.raises(InputError, match=r"t\.csv' has 1\.1 MiB, and the limit is 1\.0 MiB\. Raise it with 'data_mib'"):
        dataset(str(path), model(WIDE), 0, 0, demo=False, data_mib=1)
    assert dataset(str(path), model(WIDE), 0, 0, demo=False).test.count == 200_000


def test_a_quantized_input_takes_real_numbers(tmp_path):
    spec = TensorSpec("x", "uint8", (None, 2), scale=0.5, zero_point=10)
    found = dataset_of(tmp_path, "a,b\n1.5,-5\n0,100\n", spec)
    assert found.test.inputs["x"].tolist() == [[13, 0], [10, 210]]


def dataset_of(tmp_path, text, spec):
    (tmp_path / "t.csv").write_text(text)
    return dataset(str(tmp_path / "t.csv"), model(spec), 0, 0, demo=False)


def test_a_line_without_an_end_is_not_read_whole(tmp_path):
    path = tmp_path / "t.csv"
    with path.open("wb") as file:
        file.write(b"x_0,x_1,x_2\n")
        file.truncate(2**30)  # takes no space on the disk
    before = memory()[1]
    with pytest.raises(InputError, match=r"a line has 16,777,216 characters or more\. Give one line for each sample"):
        read_table(path, model(WIDE), 2**31)
    assert memory()[1] - before < 2**28
