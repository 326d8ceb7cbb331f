"""Bar and line charts as SVG, light enough to read in a diff."""

import math
from html import escape

WIDTH, LEFT, RIGHT = 760, 190, 90
OURS, OTHERS, TEXT, GRID = "#0b6bcb", "#9aa5b1", "#1f2933", "#d9dee4"
PALETTE = ["#7b8794", "#c05621", "#2f855a", "#805ad5", "#b83280"]


def frame(width, height, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">\n'
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n")


def text(x, y, content, anchor="start", color=TEXT, weight="normal", size=13):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{color}" font-size="{size}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def line(x1, y1, x2, y2, color=GRID, width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"/>'


def steps(top):
    """Round marks from 0 to `top`, some six of them."""
    rough = top / 6
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [step * index for index in range(int(top / step) + 1)]


def bars(title, unit, rows, ours):
    """`rows`: (name, median, smallest, largest), in the order shown."""
    top, height = max(row[3] for row in rows) * 1.05, 90 + 30 * len(rows)
    scale = (WIDTH - LEFT - RIGHT) / top
    body = [text(16, 26, title, weight="bold", size=16), text(16, 46, unit, color="#52606d")]
    for mark in steps(top):
        x = LEFT + mark * scale
        body += [line(x, 60, x, height - 26), text(x, height - 10, f"{mark:g}", "middle", "#52606d")]
    for index, (name, median, low, high) in enumerate(rows):
        y = 66 + 30 * index
        color = OURS if name == ours else OTHERS
        weight = "bold" if name == ours else "normal"
        body += [text(LEFT - 10, y + 15, name, "end", weight=weight),
                 f'<rect x="{LEFT}" y="{y}" width="{median * scale:.1f}" height="20" fill="{color}"/>',
                 line(LEFT + low * scale, y + 10, LEFT + high * scale, y + 10, TEXT, 1.5),
                 text(LEFT + high * scale + 8, y + 15, f"{median:.2f}", weight=weight)]
    return frame(WIDTH, height, body)


def lines(title, unit, series, ours):
    """`series`: name to points (x, y); x on a logarithmic scale."""
    height, bottom, top_y = 380, 330, 70
    sizes = sorted({x for points in series.values() for x, _ in points})
    top = max(y for points in series.values() for _, y in points) * 1.1
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])
    place = lambda x: 60 + (math.log10(x) - low) / (high - low) * (WIDTH - 60 - 190)
    level = lambda y: bottom - y / top * (bottom - top_y)
    body = [text(16, 26, title, weight="bold", size=16), text(16, 46, unit, color="#52606d")]
    for mark in steps(top):
        body += [line(60, level(mark), WIDTH - 190, level(mark)),
                 text(50, level(mark) + 4, f"{mark:g}", "end", "#52606d")]
    body += [text(place(size), bottom + 22, f"{size:,}", "middle", "#52606d") for size in sizes]
    ends = sorted((points[-1][1], name) for name, points in series.items())
    labels, last = {}, None
    for y, name in ends:
        at = level(y) if last is None else min(level(y), last - 16)
        labels[name] = last = at
    colors = iter(PALETTE * 3)
    for name, points in series.items():
        color, width = (OURS, 3) if name == ours else (next(colors), 1.5)
        path = " ".join(f"{place(x):.1f},{level(y):.1f}" for x, y in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>')
        body += [f'<circle cx="{place(x):.1f}" cy="{level(y):.1f}" r="3.5" fill="{color}"/>' for x, y in points]
        body.append(text(WIDTH - 180, labels[name] + 4, f"{name} {points[-1][1]:.2f}", color=color,
                         weight="bold" if name == ours else "normal"))
    return frame(WIDTH, height, body)
