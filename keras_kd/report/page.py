"""A report as one HTML page that needs nothing else: no network, no script, light and dark."""

import json
from html import escape
from importlib import resources

from keras_kd.report import sections
from keras_kd.report.report import Report

# Nothing is loaded from anywhere, whatever a name says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(report: Report) -> str:
    """Returns a report as an HTML page."""
    style = resources.files("keras_kd.report").joinpath("style.css").read_text()
    data = json.dumps(report.as_dict()).replace("<", "\\u003c")
    parts = (
        sections.headline,
        sections.legend,
        sections.table,
        sections.cost_charts,
        sections.curves,
        sections.classes,
        sections.disagreements,
        sections.about,
    )
    body = "".join(part(report) for part in parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(report.title)}</title><style>{style}</style></head>\n<body><main>\n"
        f'{body}</main>\n<script type="application/json" id="report">{data}</script>'
        "</body></html>\n"
    )
