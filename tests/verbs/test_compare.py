"""Networks side by side: what is counted, what is measured, and the page in a real browser."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.browser import Opens
from helpers.families import slow_but
from playwright.sync_api import Page
from torch import nn
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app
from featherbone.cli.compare import show_group
from featherbone.cost.measurement import measured_peak
from featherbone.cost.measurement.latency import Timing
from featherbone.cost.measurement.setting import Setting

DRAWN = "#roofline .scatterlayer"
NAMES = ("shufflenet_v2_x0_5", "shufflenet_v1_g3_x0_25", "peleenet")


@pytest.fixture(scope="module")
def compared() -> fb.Comparison:
    return fb.compare(NAMES, size=64, batches=(1, 2), rounds=3, threads=1)


def test_every_row_says_what_it_depends_on(compared: fb.Comparison) -> None:
    assert [group.setting.batch for group in compared.groups] == [1, 2]
    rows = list(csv.DictReader(io.StringIO(compared.to_csv())))
    assert len(rows) == 6
    for row in rows:
        for column in (
            "name",
            "median_ms",
            "p99_ms",
            "runs",
            "threads",
            "precision",
            "device",
            "channels_last",
            "size",
        ):
            assert row[column], column
        for column in ("processor", "instructions", "torch", "python", "date", "system"):
            assert row[column], column
        assert row["joules_per_image"] == "" or float(row["joules_per_image"]) > 0
    assert compared.machine.torch == torch.__version__


def test_groups_are_sorted_by_time_and_figures_agree(compared: fb.Comparison) -> None:
    for group in compared.groups:
        times = [entry.timing.median_ms for entry in group.entries]
        assert times == sorted(times)
        for entry in group.entries:
            cost = fb.cost(fb.create_model(entry.name), 64, batch=group.setting.batch)
            assert (entry.macs, entry.traffic_bytes, entry.cio) == (cost.macs, cost.traffic_bytes, cost.cio)
            assert entry.timing.p10_ms <= entry.timing.median_ms <= entry.timing.p90_ms <= entry.timing.p99_ms
            assert entry.timing.runs == 3
            seconds = entry.timing.median_ms / 1e3
            speed = group.speed(entry)
            assert speed["images_per_s"] == pytest.approx(group.setting.batch / seconds)
            assert speed["of_peak"] == pytest.approx(2 * entry.macs / seconds / group.rates.flops)
            layers = [(2 * macs / group.rates.flops, moved / group.rates.bytes) for _, macs, moved in entry.layers]
            assert entry.bound_ms == pytest.approx(1e3 * sum(max(pair) for pair in layers))
            assert 0 <= entry.memory_bound <= 1
            assert sum(row[2] for row in entry.stages) == entry.macs
    assert json.loads(json.dumps(compared.to_dict()))["groups"][0]["entries"][0]["name"] in NAMES


def without_peaks(group: fb.ComparisonGroup) -> fb.ComparisonGroup:
    """Return the group as MPS would give it."""
    return replace(group, entries=tuple(replace(entry, measured_peak_bytes=None) for entry in group.entries))


def test_a_peak_that_nobody_counts_is_none_and_shown_as_such(
    compared: fb.Comparison, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert measured_peak(lambda: None, Setting(size=(4, 4), device="mps")) is None
    unknown = without_peaks(compared.groups[0])
    rows = list(csv.DictReader(io.StringIO(fb.Comparison(compared.machine, (unknown,)).to_csv())))
    assert {row["measured_peak_bytes"] for row in rows} == {""}
    show_group(unknown)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith(" -") for line in lines if line.startswith(NAMES))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"device": "cuda:99x" if not torch.cuda.is_available() else "tpu"}, "device="),
        ({"device": "tpu"}, "device='tpu' is not here"),
        ({"precision": "int3"}, "precision='int3'"),
        ({"batches": (0,)}, "batch=0"),
        ({"batches": ()}, "empty"),
        ({"rounds": 0}, "rounds=0"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(fb.InputError, match=said):
        fb.compare(NAMES[:1], **{"size": 32, "rounds": 1, **wrong})


def test_strangers_are_compared_too() -> None:
    grey = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    result = fb.compare({"grey": grey, "ours": fb.create_model("shufflenet_v2_x0_5")}, size=32, rounds=2, threads=1)
    assert {entry.name for entry in result.groups[0].entries} == {"grey", "ours"}


@pytest.mark.slow
def test_a_compared_network_keeps_its_precision_and_is_counted_in_the_one_it_ran_in() -> None:
    model = fb.create_model("shufflenet_v2_x0_5")
    full = fb.compare({"m": model}, size=32, rounds=1, threads=1)
    half = fb.compare({"m": model}, size=32, rounds=1, threads=1, precision="bf16", batches=(1, 2))
    assert next(model.parameters()).dtype == torch.float32
    assert model.training
    moved = [group.entries[0].traffic_bytes for group in (*full.groups, *half.groups)]
    assert moved[1] == pytest.approx(moved[0] / 2, rel=0.01)
    assert moved[2] > moved[1]


@pytest.mark.slow
def test_compare_on_the_command_line(tmp_path: Path) -> None:
    command = ["compare", *NAMES[:2], "--size", "32", "--rounds", "2", "--threads", "1"]
    done = CliRunner().invoke(
        app, [*command, "--csv", str(tmp_path / "rows.csv"), "--report", str(tmp_path / "p.html")]
    )
    assert done.exit_code == 0, done.output
    assert "roofline ms" in done.output
    assert "how each cost ranks" not in done.output  # two networks have no ranks worth the name
    assert (tmp_path / "rows.csv").read_text().count("\n") == 3
    assert (tmp_path / "p.html").stat().st_size > 1_000_000
    as_json = CliRunner().invoke(app, [*command, "--batch", "1,2", "--json"])
    assert len(json.loads(as_json.stdout)["groups"]) == 2
    wrong = CliRunner().invoke(app, [*command, "--batch", "one"])
    assert isinstance(wrong.exception, fb.InputError)


@pytest.fixture(scope="module")
def shown(compared: fb.Comparison) -> fb.Comparison:
    """The comparison with times that no machine has a say in: which dots lie where must not differ from run to run."""

    def timed(group: fb.ComparisonGroup, factor: float) -> fb.ComparisonGroup:
        entries = sorted(group.entries, key=lambda entry: NAMES.index(entry.name))
        times = [Timing(ms, 0.9 * ms, 1.2 * ms, 1.5 * ms, 3) for ms in (factor, 2.5 * factor, 6 * factor)]
        slow = [replace(entry, timing=timing) for entry, timing in zip(entries, times, strict=True)]
        return replace(group, entries=tuple(slow))

    first, second = compared.groups
    return replace(compared, groups=(timed(first, 1), without_peaks(timed(second, 1.7))))


@pytest.fixture(params=slow_but(("wide", "narrow", "dark"), ("narrow",)))
def page(request: pytest.FixtureRequest, shown: fb.Comparison, tmp_path: Path, opened: Opens) -> Iterator[Page]:
    fb.comparison_page(shown, tmp_path / "page.html", caption="featherbone compare </script>")
    width = 390 if request.param == "narrow" else 1300
    with opened(tmp_path / "page.html", DRAWN, width=width, dark=request.param == "dark") as page:
        yield page


def names(page: Page) -> list[str]:
    return page.locator("#table tbody tr td:first-child").all_inner_texts()


def test_the_page_sorts_filters_hovers_and_pins(page: Page, shown: fb.Comparison) -> None:
    fastest = [entry.name for entry in shown.groups[0].entries]
    assert names(page) == fastest
    page.locator("#table th button", has_text="M params").click()
    by_size = names(page)
    assert sorted(fastest) == sorted(by_size)
    params = {entry.name: entry.params for entry in shown.groups[0].entries}
    assert by_size == sorted(by_size, key=lambda name: params[name])
    page.locator("#table th button", has_text="M params").click()
    assert names(page) == by_size[::-1]
    assert page.locator("th[aria-sort='descending']").inner_text().startswith("M params")

    page.locator("#filter").fill("shufflenet")
    assert set(names(page)) == set(NAMES[:2])
    page.locator("#filter").fill("")

    page.locator("#axis").select_option("macs")
    page.wait_for_function("document.querySelector('#pareto .xtitle').textContent.includes('multiply')")
    last = page.locator("#table tbody tr td:nth-last-child(2)")  # measured peak
    assert "-" not in last.all_inner_texts()
    page.locator("#group").select_option(index=1)
    assert names(page) != []
    assert set(last.all_inner_texts()) == {"-"}

    middle = shown.groups[1].entries[1].name
    assert middle not in page.locator("#pareto .annotation").all_text_contents()
    page.locator("#pareto").scroll_into_view_if_needed()
    drag = page.locator("#pareto .nsewdrag").bounding_box()
    x, y = page.evaluate(
        """name => {
          const plot = document.getElementById("pareto"), trace = plot.data[1], i = trace.text.indexOf(name);
          const {xaxis, yaxis} = plot._fullLayout;
          return [xaxis.l2p(Math.log10(trace.x[i])), yaxis.l2p(Math.log10(trace.y[i]))];
        }""",
        middle,
    )
    assert drag
    page.mouse.move(drag["x"] + x, drag["y"] + y)
    page.wait_for_selector("#pareto .hovertext")
    assert any(middle in text for text in page.locator("#pareto .hovertext").all_text_contents())
    page.mouse.click(drag["x"] + x, drag["y"] + y)
    pins = "name => [...document.querySelectorAll('#pareto .annotation')].some(a => a.textContent.includes(name))"
    page.wait_for_function(pins, arg=middle)


def test_a_filter_that_nothing_passes_empties_the_page_and_breaks_nothing(page: Page) -> None:
    every = names(page)
    page.locator("#filter").fill("no network is called so")
    assert names(page) == []
    page.locator("#axis").select_option("macs")
    page.locator("#table th button", has_text="M params").click()
    assert names(page) == []
    page.locator("#filter").fill("")
    assert sorted(names(page)) == sorted(every)


def test_the_page_fits_its_screen_and_follows_its_light(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    ink = page.evaluate("getComputedStyle(document.querySelector('#pareto .xtitle')).fill")
    assert ink == ("rgb(230, 233, 236)" if dark else "rgb(27, 31, 36)")
    assert page.locator(".caption").inner_text() == "featherbone compare </script>"


def test_hostile_names_stay_names(compared: fb.Comparison, tmp_path: Path, opened: Opens) -> None:
    hostile = ("</script><img src=x onerror=alert(1)>", "<!--<script>", "line\u2028end\u2029 \udc80 $data")
    group = compared.groups[0]
    entries = tuple(replace(entry, name=name) for entry, name in zip(group.entries, hostile, strict=True))
    path = tmp_path / "page.html"
    fb.comparison_page(replace(compared, groups=(replace(group, entries=entries),)), path)
    inside = path.read_text(encoding="utf-8").partition('type="application/json">')[2].partition("</script>")[0]
    assert "<" not in inside
    assert inside.isascii()
    assert [entry["name"] for entry in json.loads(inside)["groups"][0]["entries"]] == list(hostile)
    with opened(path, DRAWN) as page:
        shown = page.locator("#table tbody tr td:first-child").all_text_contents()
        assert sorted(shown)[:2] == sorted(hostile[:2])
        assert page.locator("img[src='x']").count() == 0
