"""Tables of results in notebooks."""

from keras_kd.display.html_tables import HtmlTables, Table


class Result(HtmlTables):
    def html_tables(self):
        fields = Table((), [("path", "a<b>.tflite")])
        return {"Files & sizes": fields, "Scores": Table(("output", "accuracy"), [("a", "1")], [1])}


def squeezed(html):
    """The page without line breaks."""
    return "".join(line.strip() for line in html.splitlines())


def test_each_table_has_its_caption_and_texts_are_escaped():
    html = Result()._repr_html_()
    assert "Files &amp; sizes</caption>" in html
    assert "a&lt;b&gt;.tflite</td>" in html
    assert html.count("<table>") == 2


def test_numbers_are_aligned_to_the_right_and_a_list_of_fields_has_no_header():
    html = squeezed(Result()._repr_html_())
    left, right = (f'style="text-align: {side}"' for side in ("left", "right"))
    assert html.count("<thead>") == 1
    assert f"<tr><th {left}>output</th><th {right}>accuracy</th></tr>" in html
    assert f"<tr><td {left}>a</td><td {right}>1</td></tr>" in html
