"""The scale that each image has for itself, as an ONNX graph: see `OwnScale`.

How many pixels apart the percentiles are measured depends on the sides of an image, which an
exporter would write down as a constant. So this graph is written operator by operator, in the text
form of ONNX (https://onnx.ai/onnx/repo-docs/Syntax.html).
"""

from __future__ import annotations

from typing import Any

from domainjepa.domains.intensity import OWN_PIXELS, OwnScale
from domainjepa.views.resampling import OWN_SLICES

OPSET = 18
IR = 10
"""The version of the format that goes with it."""
_EUCLID = 24
"""Rounds after which Euclid's algorithm has ended for numbers up to 46,368 (Lame's theorem): one
pixel in so many is measured of images of 1.4 billion."""


def own_scale_graph(intensity: OwnScale, dimensions: int) -> Any:
    """(N, C, *sides) float32 stored values -> float32 on the 0..1 scale, of the same shape.

    Args:
        intensity: percentiles, floor and sign of the data set.
        dimensions: 2; 3 for volumes, whose scale is that of `OWN_SLICES` of their slices.

    Returns:
        A model of ONNX, for any number of images of any one size at a time.
    """
    import onnx.parser

    channels = len(intensity.floor)
    shape = ", ".join(["N", str(channels), *"DHW"[3 - dimensions :]])
    floor = ", ".join(map(repr, intensity.floor))
    shares = ", ".join(str(percent / 100) for percent in intensity.percentiles)
    numbers = f"""
        int64 one = {{1}}, int64[1] nought = {{0}}, int64[1] unit = {{1}}, int64[1] two = {{2}},
        int64[1] all = {{{2**62}}}, int64[1] enough = {{{OWN_PIXELS}}},
        int64[3] flatly = {{0, 0, -1}},
        int64[{2 + dimensions}] broadly = {{{", ".join(["0", "0", *"1" * dimensions])}}},
        double[2] shares = {{{shares}}}, float[1, {channels}, 1] floor = {{{floor}}},
        float[1] beyond = {{3.4028234e38}}, float[1] none = {{0.0}},
        float least = {{-1.0}}, float most = {{2.0}}"""
    if dimensions == 3:
        odd = ", ".join(str(2 * part + 1) for part in range(OWN_SLICES))
        numbers += f", int64[{OWN_SLICES}] odd = {{{odd}}}, int64[1] parts = {{{2 * OWN_SLICES}}}"
    body = _slices(dimensions) + _pixels() + _ends(intensity.signed) + _LINE
    return onnx.parser.parse_model(
        f'<ir_version: {IR}, opset_import: ["": {OPSET}]>\n'
        f"own_scale (float[{shape}] images) => (float[{shape}] scaled) <{numbers}> {{\n{body}\n}}"
    )


def _slices(dimensions: int) -> str:
    """`measured`: the images, or of volumes the middles of as many equal parts along D."""
    if dimensions == 2:
        return "measured = Identity (images)\n"
    return """
        depth = Shape <start = 2, end = 3> (images)
        times = Mul (odd, depth)
        middles = Div (times, parts)
        depths, first, inverse, counts = Unique <sorted = 1> (middles)
        measured = Gather <axis = 2> (images, depths)
    """


def _pixels() -> str:
    """`pixels` (N, C, M): evenly spaced ones, as `domains.intensity.thinned` takes them.

    The step is the largest up to a pixel in `enough` that has no divisor in common with the last
    two sides; the greatest divisors of all candidates are found at once.
    """
    text = """
        flat = Reshape (measured, flatly)
        count = Shape <start = 2, end = 3> (flat)
        plane = Shape <start = -2> (measured)
        area = ReduceProd <keepdims = 1> (plane)
        share = Div (count, enough)
        widest = Max (share, unit)
        widest_number = Squeeze (widest)
        end = Add (widest_number, one)
        steps = Range (one, end, one)
        candidates = Shape (steps)
        a0 = Expand (area, candidates)
        b0 = Identity (steps)
    """
    for i in range(_EUCLID):
        text += f"""
        done{i} = Equal (b{i}, nought)
        by{i} = Where (done{i}, unit, b{i})
        rest{i} = Mod (a{i}, by{i})
        a{i + 1} = Where (done{i}, a{i}, b{i})
        b{i + 1} = Where (done{i}, nought, rest{i})
        """
    return (
        text
        + f"""
        coprime = Equal (a{_EUCLID}, unit)
        fitting = Where (coprime, steps, unit)
        step = ReduceMax <keepdims = 1> (fitting)
        pixels = Slice (flat, nought, all, two, step)
        """
    )


def _ends(signed: bool) -> str:
    """`low` and `high` (N, C, 1): between which order statistics are interpolated linearly, as
    `numpy.percentile` does; of what is finite."""
    low = "found_low" if signed else "nothing"
    return f"""
        is_nan = IsNaN (pixels)
        is_infinite = IsInf (pixels)
        lost = Or (is_nan, is_infinite)
        known = Not (lost)
        filled = Where (known, pixels, beyond)
        known_number = Cast <to = 7> (known)
        known_count = ReduceSum <keepdims = 1> (known_number, two)
        every = Shape <start = 2, end = 3> (pixels)
        ascending, order = TopK <axis = -1, largest = 0> (filled, every)
        last_known = Sub (known_count, unit)
        last = Max (last_known, nought)
        last_place = Cast <to = 11> (last)
        place = Mul (last_place, shares)
        below_place = Floor (place)
        above_place = Ceil (place)
        below_at = Cast <to = 7> (below_place)
        above_at = Cast <to = 7> (above_place)
        below = GatherElements <axis = 2> (ascending, below_at)
        above = GatherElements <axis = 2> (ascending, above_at)
        way_place = Sub (place, below_place)
        way = Cast <to = 1> (way_place)
        apart = Sub (above, below)
        more = Mul (apart, way)
        between = Add (below, more)
        empty = Equal (known_count, nought)
        found = Where (empty, none, between)
        found_low = Slice (found, nought, unit, two)
        found_high = Slice (found, unit, two, two)
        nothing = Mul (found_low, none)
        low = Identity ({low})
        least_high = Add (low, floor)
        high = Max (found_high, least_high)
    """


_LINE = """
        foot = Reshape (low, broadly)
        head = Reshape (high, broadly)
        range = Sub (head, foot)
        above_foot = Sub (images, foot)
        line = Div (above_foot, range)
        line_nan = IsNaN (line)
        line_known = Where (line_nan, none, line)
        scaled = Clip (line_known, least, most)
"""
"""From low to high onto 0..1, cut one range away; 0 where there is no number."""
