import numpy as np
import pytest

from keras_kd import datasets


def load(folder, *args, **kwargs):
    parts = list(datasets.load(folder, *args, **kwargs))
    return tuple(np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(2))


def write(folder, split="train", text="width,label,height\n1,cat,2\n3,dog,4.5\n"):
    (folder / f"{split}.csv").write_text(text)


def test_numbers_are_a_vector_and_names_are_classes(tmp_path):
    write(tmp_path)
    write(tmp_path, "validation", "width,label,height\n5,dog,6\n")
    x, y = load(tmp_path, shuffle=False)
    np.testing.assert_array_equal(x, np.array([[1, 2], [3, 4.5]], "float32"))
    assert (x.dtype, y.dtype, y.tolist()) == ("float32", "int64", [0, 1])
    assert load(tmp_path, "validation")[1].tolist() == [1]
    about = datasets.describe(tmp_path)
    assert (about.class_names, about.input_shape) == (("cat", "dog"), (2,))


@pytest.mark.parametrize(("labels", "dtype"), [(("0", "3"), "int64"), (("0.5", "3"), "float32")])
def test_labels_that_are_numbers_are_kept(tmp_path, labels, dtype):
    write(tmp_path, text=f"a,label\n1,{labels[0]}\n2,{labels[1]}\n")
    write(tmp_path, "validation")
    (tmp_path / "validation.csv").unlink()
    _, y = load(tmp_path, shuffle=False)
    assert y.dtype == dtype
    assert y.tolist() == [float(label) for label in labels]
    assert datasets.describe(tmp_path).class_names is None


def test_one_column_of_texts(tmp_path):
    write(tmp_path, text='text,label\n"good, very",1\nbad,0\n')
    x, y = load(tmp_path, shuffle=False)
    assert (x.tolist(), y.tolist()) == ([b"good, very", b"bad"], [1, 0])


def test_a_fifth_of_the_rows_is_for_validation(tmp_path):
    rows = "".join(f"{i},{i % 2}\n" for i in range(20))
    write(tmp_path, text=f"a,label\n{rows}")
    train, validation = (load(tmp_path, split)[0].ravel() for split in ("train", "validation"))
    assert (len(train), len(validation)) == (16, 4)
    assert sorted([*train, *validation]) == list(range(20))


def test_rows_that_cannot_be_read_are_named_and_left_out_on_request(tmp_path):
    write(tmp_path, text="a,b,label\n1,2,0\n3,,1\nx,5,0\n6,7,1\n8,9,0\n")
    (tmp_path / "validation.csv").write_text("a,b,label\n1,2,0\n")
    with pytest.raises(ValueError, match=r"line 3, column 'b', line 4, column 'a', without"):
        load(tmp_path)
    assert load(tmp_path, skip_unreadable=True, shuffle=False)[0][:, 0].tolist() == [1, 6, 8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"a column 'label'.*Received: 1 rows of \['a', 'b'\]"),
        ("a,label\n", r"Received: 0 rows"),
        ("a,label\n1,0,5\n", "line 2 with more values"),
    ],
)
def test_other_files_are_rejected(tmp_path, text, message):
    write(tmp_path, text=text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_unknown_labels_of_another_split_are_rejected(tmp_path):
    write(tmp_path)
    write(tmp_path, "test", "width,label,height\n5,bird,6\n")
    with pytest.raises(ValueError, match=r"\['cat', 'dog'\]. Received: also \['bird'\]"):
        load(tmp_path, "test")


def test_columns_of_another_order_are_matched_by_name(tmp_path):
    write(tmp_path)
    write(tmp_path, "test", "height,label,width\n6,dog,5\n")
    assert load(tmp_path, "test")[0].tolist() == [[5, 6]]
    write(tmp_path, "test", "height,label,depth\n6,dog,5\n")
    with pytest.raises(ValueError, match=r"\['width', 'height'\]. Received: \['height', 'depth'\]"):
        load(tmp_path, "test")


def test_labels_have_one_type_in_all_splits(tmp_path):
    write(tmp_path, text="a,label\n1,2\n2,3\n")
    write(tmp_path, "validation", "a,label\n1,2.5\n")
    assert [load(tmp_path, s)[1].dtype for s in ("train", "validation")] == ["float32"] * 2
    (tmp_path / "validation.csv").unlink()
    rows = "".join(f"{i},{i}\n" for i in range(9))
    write(tmp_path, text=f"a,label\n{rows}9,0.5\n")
    assert [load(tmp_path, s)[1].dtype for s in ("train", "validation")] == ["float32"] * 2


def test_a_number_among_the_texts_is_a_text(tmp_path):
    write(tmp_path, text="text,label\nnice,1\n42,0\nbad,0\n")
    assert load(tmp_path, shuffle=False)[0].tolist() == [b"nice", b"42", b"bad"]
