"""ECG paper: scale, layouts, what is printed."""

import io
import itertools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.viz import plot_ecg
from ecg_transformers.viz.page import FOOTER_MM, HEADER_MM, MARGIN_MM, PULSE_MM


def record(leads=STANDARD_LEADS, *, seconds=10.0, rate=250, peak=1.0, **fields):
    """A spike of `peak` mV at every whole second + 0.3 s in every lead."""
    signal = np.zeros((len(leads), int(seconds * rate)), dtype=np.float32)
    signal[:, int(0.3 * rate) :: rate] = peak
    return EcgRecord(signal, rate, leads=leads, name=fields.pop("name", "r1"), **fields)


def traces(figure):
    """Points in mm of every trace by its label; of lead II the last one (the strip)."""
    lines = [line for line in figure.axes[0].lines if str(line.get_gid()).startswith("trace ")]
    return {line.get_gid().removeprefix("trace "): line.get_xydata() for line in lines}


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_unit_of_the_page_is_the_millimeter():
    figure = plot_ecg(record())
    axes = figure.axes[0]
    size = figure.get_size_inches() * 25.4
    np.testing.assert_allclose([axes.get_xlim(), axes.get_ylim()], [(0, size[0]), (0, size[1])], rtol=1e-12)
    for dpi in (50, 300):
        figure.set_dpi(dpi)
        a, b = axes.transData.transform([(20.0, 30.0), (21.0, 32.0)])
        np.testing.assert_allclose(b - a, [dpi / 25.4, 2 * dpi / 25.4], rtol=1e-9)


def test_printed_pixels_have_a_dark_line_every_five_millimeters():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plot_ecg(record(["II"], peak=0.0))
    figure.set_dpi(254)  # 10 pixels per mm
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., 1].astype(int)
    row = pixels.shape[0] - round((FOOTER_MM + 2.5) * 10)  # between two horizontal lines of the lowest square
    columns = pixels[row, round(MARGIN_MM * 10) : round((MARGIN_MM + 100) * 10)]
    dark = np.array([columns[max(0, k * 10 - 2) : k * 10 + 3].min() for k in range(100)])
    bold = dark < 200
    assert list(np.flatnonzero(bold)) == list(range(0, 100, 5))
    assert (dark[~bold] < 245).all()  # every fine line is there


@pytest.mark.parametrize(("speed", "gain"), [(25.0, 10.0), (50.0, 5.0), (12.5, 20.0)])
def test_pulse_and_peak_are_true_to_speed_and_gain(speed, gain):
    figure = plot_ecg(record(["II"]), speed=speed, gain=gain)
    pulse = next(line for line in figure.axes[0].lines if line.get_gid() == "calibration").get_xydata()
    top = pulse[pulse[:, 1] == pulse[:, 1].max()]
    assert np.ptp(pulse[:, 1]) == pytest.approx(gain)
    assert np.ptp(top[:, 0]) == pytest.approx(0.2 * speed)
    points = traces(figure)["II"]
    base = np.median(points[:, 1])
    peak = points[np.argmax(points[:, 1])]
    assert peak[0] == pytest.approx(MARGIN_MM + PULSE_MM + 0.3 * speed)
    assert peak[1] - base == pytest.approx(gain)
    assert (base - FOOTER_MM) % 5 == pytest.approx(0, abs=1e-9)  # the base line lies on a 5-mm line


def test_speed_gain_rate_and_filter_are_printed():
    printed = texts(plot_ecg(record(age=56, sex="male", labels=("SR",)), speed=50, gain=20))
    assert any(all(part in text for part in ("50 mm/s", "20 mm/mV", "250 Hz", "filter off")) for text in printed)
    assert "56 years   male   SR" in printed
    assert "r1" in printed
    filtered = texts(plot_ecg(record(), bandpass=(0.5, 40.0), notch=50.0))
    assert any("filter 0.5\N{EN DASH}40 Hz, notch 50 Hz" in text for text in filtered)


def test_filters_act_on_the_picture_alone():
    raw = record(["II"])
    before = raw.signal.copy()
    smooth = traces(plot_ecg(raw, bandpass=(0.5, 40.0)))["II"]
    assert np.ptp(smooth[:, 1]) < 0.9 * np.ptp(traces(plot_ecg(raw))["II"][:, 1])
    np.testing.assert_array_equal(raw.signal, before)
    raw.signal[0, 100:110] = np.nan
    gap = np.isnan(traces(plot_ecg(raw, bandpass=(0.5, 40.0)))["II"][:, 1])
    assert list(np.flatnonzero(gap)) == list(range(100, 110))


@pytest.mark.parametrize("layout", ["3x4", "3x4+II", "stacked", "12x1"])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_every_layout_takes_one_to_twelve_leads(layout, count):
    leads = STANDARD_LEADS[:count]
    figure = plot_ecg(record(leads), layout=layout)
    assert set(traces(figure)) == set(leads)
    assert set(leads) <= set(texts(figure))
    assert texts(figure).count("absent") == (12 - count if layout == "12x1" else 0)


def test_unnamed_leads_are_numbered():
    figure = plot_ecg(EcgRecord(np.zeros((2, 500)), 250))
    assert {"lead 1", "lead 2"} <= set(texts(figure))


def test_cabrera_turns_avr_round():
    upright = traces(plot_ecg(record(), layout="12x1"))["aVR"]
    inverted = traces(plot_ecg(record(), layout="12x1", order="cabrera"))["\N{MINUS SIGN}aVR"]
    height = [points[:, 1] - np.median(points[:, 1]) for points in (upright, inverted)]
    np.testing.assert_allclose(height[0], -height[1], atol=1e-9)


def test_rows_of_a_wide_signal_do_not_touch():
    rng = np.random.default_rng(0)
    wide = record()
    wide.signal = (rng.uniform(-3.5, 3.5, wide.signal.shape)).astype(np.float32)
    for layout in ("stacked", "3x4+II"):
        figure = plot_ecg(wide, layout=layout)
        lines = [line for line in figure.axes[0].lines if str(line.get_gid()).startswith("trace ")]
        rows = {}
        for line in lines:
            points = line.get_xydata()
            rows.setdefault(round(float(np.median(points[:, 1])) / 20), []).append(
                (points[:, 1].min(), points[:, 1].max())
            )
        spans = sorted((min(low for low, _ in row), max(high for _, high in row)) for row in rows.values())
        assert all(below[1] < above[0] for below, above in itertools.pairwise(spans))
        top = figure.get_size_inches()[1] * 25.4 - HEADER_MM
        assert spans[0][0] >= FOOTER_MM
        assert spans[-1][1] <= top


def test_calibration_pulses_of_a_high_gain_do_not_touch():
    figure = plot_ecg(record(), layout="12x1", gain=40)
    pulses = [line.get_ydata() for line in figure.axes[0].lines if line.get_gid() == "calibration"]
    assert all(below.max() < above.min() for above, below in itertools.pairwise(pulses))


def test_the_pen_stops_and_the_page_says_so():
    figure = plot_ecg(record(["I", "II"], peak=30.0))
    points = traces(figure)["II"]
    assert np.ptp(points[:, 1]) == pytest.approx(50.0)
    assert "clipped at 5 mV: I, II" in texts(figure)


def test_a_constant_offset_is_moved_to_the_base_line():
    shifted = record(["II"])
    shifted.signal = shifted.signal + np.float32(7.0)
    np.testing.assert_allclose(traces(plot_ecg(shifted))["II"], traces(plot_ecg(record(["II"])))["II"], atol=1e-5)


def test_missing_samples_leave_a_gap_and_an_empty_lead_says_so():
    broken = record(["I", "II"])
    broken.signal[0] = np.nan
    broken.signal[1, 100:200] = np.nan
    figure = plot_ecg(broken)
    assert "no signal" in texts(figure)
    assert np.isnan(traces(figure)["II"][100:200, 1]).all()
    assert np.isfinite(traces(figure)["II"][200:, 1]).all()


def test_a_long_record_shows_its_first_ten_seconds_or_the_part_asked_for():
    long = record(["II"], seconds=1800.0, rate=100)
    assert len(traces(plot_ecg(long))["II"]) == 1000
    assert "10 s from 0 s of 1800 s" in texts(plot_ecg(long))
    figure = plot_ecg(long, start=1700.0, duration=6.0)
    assert len(traces(figure)["II"]) == 600
    assert {"1700 s", "1706 s"} <= set(texts(figure))
    assert len(traces(plot_ecg(long, start=1795.0))["II"]) == 500


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"start": 10.0}, "10 s"),
        ({"start": -1.0}, "-1"),
        ({"duration": 0.0}, "0 s"),
        ({"speed": 0.0}, "speed"),
        ({"gain": float("nan")}, "gain"),
        ({"duration": 10.0, "speed": 1000.0}, "paper"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(arguments, fact):
    with pytest.raises(SignalError, match=fact):
        plot_ecg(record(["II"]), **arguments)


def test_a_name_with_dollar_signs_is_printed_as_it_is():
    figure = plot_ecg(record(["II"], name="a$b_{c}$"), duration=1.0)
    figure.savefig(io.BytesIO(), format="svg")
    assert "a$b_{c}$" in texts(figure)


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_saves_for_screen_and_print(suffix, start, tmp_path):
    path = tmp_path / f"ecg.{suffix}"
    plot_ecg(record()).savefig(path)
    assert path.read_bytes().startswith(start)


def test_needs_no_display_no_pyplot_and_imports_matplotlib_late():
    program = """
import sys
import numpy as np
from ecg_transformers import viz
from ecg_transformers.signals.record import EcgRecord
assert "matplotlib" not in sys.modules
viz.plot_ecg(EcgRecord(np.zeros((1, 500)), 250, leads=["II"]))
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_a_figure_is_shown_by_a_notebook_without_pyplot():
    figure = plot_ecg(record())
    picture = getattr(figure, "_repr_png_", None)  # the name that IPython asks for
    assert picture is not None
    assert picture().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure)).get_size_inches().tolist() == figure.get_size_inches().tolist()
