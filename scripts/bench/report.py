"""What the benchmarks have in common: their options, and the report of what they measured."""

import argparse
import pathlib
import platform


def parser(doc, phalanx, seconds, of="a turn"):
    """Options that every benchmark has; `phalanx` is what is measured, `seconds` how long `of` takes by default."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--phalanx", required=True, help=phalanx)
    options.add_argument("--rounds", type=int, default=5, help="turns that each contender has")
    options.add_argument("--seconds", type=float, default=seconds, help=f"length of {of}")
    options.add_argument("--markdown", help="file to write the table into as well")
    return options


def processors():
    """The names of this machine's processors, one a core; at least one."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names or [platform.machine()]


def report(options, note, head, rows, texts=1):
    """Prints a table of Markdown whose first columns are texts, and writes it where it is wanted."""
    lines = [head, ["---"] * texts + ["---:"] * (len(head) - texts), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = f"{note}\n\n{table}\n"
    print(text)
    if options.markdown:
        pathlib.Path(options.markdown).write_text(text, encoding="utf-8")
