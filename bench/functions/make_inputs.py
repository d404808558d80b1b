"""Makes the inputs of the functions from files that every Debian machine has.

Usage: make_inputs.py DIRECTORY

Sources: the licences of base-files (/usr/share/common-licenses) and the source files of Python's
standard library. The same machine always gives the same files; nothing is random.
"""

import ast
import json
import pathlib
import sys
import sysconfig

MODULES = 60       # of the standard library, the largest first
TEXT_BYTES = 300_000
IMAGE_SIZE = (480, 360)
LOG_LINES = 5_000


def library_root():
    return pathlib.Path(sysconfig.get_paths()["stdlib"])


def library_files():
    """The largest plain modules of the standard library, by name."""
    files = sorted(library_root().glob("*.py"), key=lambda f: (-f.stat().st_size, f.name))[:MODULES]
    return sorted(files)


def text(files):
    """English text: licences, then documentation strings."""
    parts = [p.read_text("utf-8", "replace")
             for p in sorted(pathlib.Path("/usr/share/common-licenses").iterdir())
             if p.is_file() and not p.is_symlink()]
    for file in files:
        parts.append(file.read_text("utf-8", "replace"))
    return "\n".join(parts)[:TEXT_BYTES]


def records(files):
    """One record for each function of the library, as a web service might store them."""
    out = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_bytes())):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            out.append({
                "id": len(out), "module": file.stem, "name": node.name, "line": node.lineno,
                "lines": (node.end_lineno or node.lineno) - node.lineno + 1,
                "arguments": [a.arg for a in node.args.args],
                "calls": sorted({c.func.id for c in ast.walk(node)
                                 if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}),
                "doc": (ast.get_docstring(node) or "")[:200], "public": node.name[0] != "_",
            })
    return out


def edges(items):
    """A graph: functions of one module, and functions that call each other by name."""
    by_name = {}
    for item in items:
        by_name.setdefault(item["name"], []).append(item["id"])
    out = set()
    for before, item in zip(items, items[1:]):
        if before["module"] == item["module"]:
            out.add((before["id"], item["id"]))
        for call in item["calls"]:
            for callee in by_name.get(call, [])[:8]:
                out.add((item["id"], callee))
    return sorted(e for e in out if e[0] != e[1])


def log_lines(items):
    """Requests as a web server logs them, in an order that only looks arbitrary."""
    lines = []
    for i in range(LOG_LINES):
        item = items[i * 7919 % len(items)]
        lines.append('10.0.%d.%d - - [%02d/Nov/2026:%02d:%02d:%02d +0000] "GET /%s/%s HTTP/1.1" '
                     '%d %d' % (i % 7, i * 31 % 256, i % 28 + 1, i % 24, i * 13 % 60, i * 17 % 60,
                                item["module"], item["name"], (200, 200, 304, 404)[i % 4],
                                item["lines"] * 37))
    return "\n".join(lines) + "\n"


def image(source):
    """A portable pixmap: gradients with the bytes of a text as texture."""
    width, height = IMAGE_SIZE
    data = source.encode()
    rows = bytearray(b"P6 %d %d 255\n" % IMAGE_SIZE)
    for y in range(height):
        for x in range(width):
            grain = data[(x // 2 + y // 2 * width) % len(data)] // 4
            rows += bytes((x * 191 // width + grain, y * 191 // height + grain,
                           (x + y) * 191 // (width + height) + grain))
    return bytes(rows)


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    files = library_files()
    items = records(files)
    words = text(files)
    (directory / "text.txt").write_text(words)
    (directory / "records.json").write_text(json.dumps(items))
    (directory / "graph.txt").write_text("".join("%d %d\n" % e for e in edges(items)))
    (directory / "access.log").write_text(log_lines(items))
    (directory / "image.ppm").write_bytes(image(words))
    (directory / "module.py").write_bytes((library_root() / "argparse.py").read_bytes())


if __name__ == "__main__":
    main()
