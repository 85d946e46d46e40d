"""The page of a data set: one file with pictures that works offline and runs nothing."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from featherbone.errors import counted
from featherbone.report.pages.data_boxes import box_cell, box_tables, issue_groups, outlined

_HERE = Path(__file__).parent
DUPLICATES = 60  # groups that are shown
OF_ONE_GROUP = 6
ISSUES = 12  # images with each kind of issue
_ROWS = 1000  # of files that are left out
_TINY = 48  # pixels: up to here every one of them is to be seen

_Values = Mapping[str, Any]


def data_html(
    check: _Values,
    samples: Sequence[_Values],
    duplicates: Sequence[_Values],
    issues: Sequence[_Values] = (),
    *,
    caption: str = "",
) -> str:
    """Return the page of ``Check.to_dict()``.

    Args:
        check: plain values. Every name in them may be hostile: all of them are escaped.
        samples: images, each with split, label, path and what ``thumbnail`` gives (``picture``, ``size``); those with
            boxes also as ``outlined`` takes them.
        duplicates: groups of equal images of the same form (``images``), and how many there are (``count``).
        issues: groups of images with boxes that are wrong, and ``title``, ``severity`` and ``total`` of each.
        caption: a line below the title.
    """
    page = Template((_HERE / "data.html").read_text(encoding="utf-8"))
    style = "".join((_HERE / name).read_text(encoding="utf-8") for name in ("base.css", "data.css"))
    return page.substitute(
        style=style,
        name=_safe(check["name"]),
        caption=_safe(caption),
        summary=_safe(_summary(check)),
        findings=_findings(check["findings"]),
        classes=_classes(check, samples),
        boxes=_boxes(check, issues) if "boxes" in check else "",
        forms=_forms(check),
        duplicates=_duplicates(duplicates, len(check["duplicates"])),
        broken=_broken([*check["left_out"], *check["broken"]]),
    )


def _safe(text: object) -> str:
    return html.escape(str(text))


def _summary(check: _Values) -> str:
    shares = ", ".join(f"{count:,} {split}" for split, count in check["splits"].items())
    boxes = f" with {counted(check['boxes']['total'], 'box', 'boxes')}" if "boxes" in check else ""
    form = f", {check['format']}" if boxes else ""
    images, classes = counted(check["images"], "readable image"), counted(len(check["classes"]), "class", "classes")
    return f"{images} ({shares}){boxes} of {classes}{form}"


def _findings(findings: Sequence[_Values]) -> str:
    if not findings:
        return '<li class="fine">Nothing is wrong: every file can be read, and no image is there twice.</li>'
    return "".join(f'<li class="{finding["severity"]}">{_safe(finding["text"])}</li>' for finding in findings)


def _classes(check: _Values, samples: Sequence[_Values]) -> str:
    classes, splits, boxed = check["classes"], check["splits"], "boxes" in check
    counts = [row[split]["boxes"] if boxed else row[split] for row in classes for split in splits]
    most = max(counts, default=0) or 1
    pictures: dict[str, list[_Values]] = defaultdict(list)
    for picture in samples:
        pictures[picture["label"]].append(picture)
    head = "".join(f"<th>{_safe(title)}</th>" for title in ("class", *splits, "samples"))
    rows = "".join(
        f'<tr><td title="{_safe(row["name"])}">{_safe(row["name"])}</td>'
        + "".join(
            f"<td>{box_cell(row[split], most, _bar) if boxed else _bar(row[split], most)}</td>" for split in splits
        )
        + f'<td class="samples">{"".join(map(_image, pictures[row["name"]]))}</td></tr>'
        for row in classes
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"


def _boxes(check: _Values, issues: Sequence[_Values]) -> str:
    groups = f'<div class="groups">{issue_groups(issues, _figure)}</div>' if issues else "<p>None.</p>"
    return (
        f'<section class="wide"><h2>Boxes</h2><div class="forms">'
        f"{box_tables(check['boxes'], check['images'], _table)}</div></section>"
        f'<section class="wide issues"><h2>Boxes that are wrong</h2>{groups}</section>'
    )


def _bar(count: int, most: int) -> str:
    return f'<span class="count">{count:,}</span><span class="bar" style="width:{60 * count / most:.1f}px"></span>'


def _image(picture: _Values) -> str:
    if "unreadable" in picture:
        return '<span class="gone">gone</span>'
    if "outlines" in picture:
        return outlined(picture)
    name = _safe(picture["path"])
    tiny = ' class="tiny"' if max(picture["size"]) <= _TINY else ""
    return f'<img src="{picture["picture"]}" alt="{name}" title="{name}"{tiny}>'


def _forms(check: _Values) -> str:
    sides = [
        (what, *(f"{check[what][key]:,}" for key in ("smallest", "median", "largest"))) for what in ("width", "height")
    ]
    sizes = [(f"{one['width']} x {one['height']}", f"{one['images']:,}") for one in check["commonest_sizes"]]
    other = check["different_sizes"] - len(sizes)
    if other > 0:
        sizes.append(
            (f"{other:,} other sizes", f"{check['images'] - sum(s['images'] for s in check['commonest_sizes']):,}")
        )
    modes = [(mode, f"{count:,}") for mode, count in check["modes"].items()]
    return (
        _table(("pixels", "smallest", "median", "largest"), sides)
        + _table(("size", "images"), sizes)
        + _table(("stored as", "images"), modes)
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th>{_safe(title)}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def _duplicates(groups: Sequence[_Values], of: int) -> str:
    if not groups:
        return "<p>None.</p>"
    rest = f"<p>{of - len(groups):,} more groups are in --json.</p>" if of > len(groups) else ""
    return f'<div class="groups">{"".join(map(_group, groups))}</div>{rest}'


def _group(group: _Values) -> str:
    marks = [
        *(["in more than one split"] if group["across_splits"] else []),
        *(["different labels"] if group["conflicting_labels"] else []),
        "the same file" if group["same_bytes"] else "equal pixels in different files",
    ]
    error = " error" if group["across_splits"] or group["conflicting_labels"] else ""
    figures = "".join(map(_figure, group["images"]))
    more = group["count"] - len(group["images"])
    rest = f"<p>and {more:,} more</p>" if more else ""
    return f'<div class="group{error}"><p>{"; ".join(marks)}</p><div class="row">{figures}</div>{rest}</div>'


def _figure(picture: _Values) -> str:
    return (
        f"<figure>{_image(picture)}<figcaption><b>{_safe(picture['split'])} / {_safe(picture['label'])}</b>"
        f"<br>{_safe(picture['path'])}</figcaption></figure>"
    )


def _broken(files: Sequence[_Values]) -> str:
    if not files:
        return "<p>None.</p>"
    rest = f"<p>{len(files) - _ROWS:,} more are in --json.</p>" if len(files) > _ROWS else ""
    return _table(("what", "why"), [(file["path"], file["reason"]) for file in files[:_ROWS]]) + rest
