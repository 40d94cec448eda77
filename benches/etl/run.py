#!/usr/bin/env python3
"""Times the SQL part of the sample's daily pipeline on recctl, DuckDB, Polars and Spark.

    cargo build --release && python3 benches/etl/run.py [--events 1000000] [--rounds 3]

Installs the peers into target/bench-etl/, makes the input there, runs all in turn, compares what they
made, and prints a Markdown table. Every engine does the same job: read a day of gzipped JSON lines
with their faults, leave out what is malformed, bots', outside of the day or a copy, find sessions and
labels, aggregate, join, and write seven tables as Parquet with zstd. recctl also keeps every refused
line with its reason, hashes and checks every table, and records the run.
"""

import argparse
import ctypes
import glob
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import venv

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "benches", "etl")
WORK = os.path.join(ROOT, "target", "bench-etl")
DAY = "2026-11-20"
PR_SET_CHILD_SUBREAPER = 36
PEERS = {"duckdb": "2.0.0", "polars": "2.1.0", "pyspark": "4.3.0"}
TABLES = ["products", "users", "clean_events", "session_events"]
TABLES += ["interactions", "item_popularity", "user_profiles"]
BAD_LINES = {
    "recctl": "kept with file, line and reason",
    "duckdb": "dropped",
    "polars": "taken out in Python before it reads",
    "spark": "dropped",
}


def python() -> str:
    home = os.path.join(WORK, "venv")
    program = os.path.join(home, "bin", "python")
    if not os.path.exists(program):
        venv.create(home, with_pip=True)
        wanted = [f"{name}=={version}" for name, version in PEERS.items()]
        subprocess.run([program, "-m", "pip", "install", "-q", *wanted], check=True)
    return program


def project(recctl: str, events: int) -> str:
    """The sample's project, without the warehouse: no peer loads one."""
    folder = os.path.join(WORK, f"events-{events}")
    if not os.path.exists(folder):
        making = folder + ".part"
        shutil.rmtree(making, ignore_errors=True)
        os.makedirs(making)
        for name in ("sql", "jobs"):
            shutil.copytree(os.path.join(ROOT, name), os.path.join(making, name))
        with open(os.path.join(ROOT, "pipelines.yaml")) as file:
            text = file.read().replace("publish: [catalog, warehouse]", "publish: [catalog]")
        with open(os.path.join(making, "pipelines.yaml"), "w") as file:
            file.write(text)
        sample = ["sample", "--events", str(events), "--days", "1", "--last-day", DAY]
        subprocess.run([recctl, *sample], cwd=making, check=True, stdout=subprocess.DEVNULL)
        os.rename(making, folder)
    return folder


def timed(command: list[str], folder: str) -> tuple[float, float, int]:
    """Wall seconds, processor seconds and peak bytes of a command with all that it starts.

    Peak is that of the largest process. Spark's work is done by a process whose parent does not wait
    for it, so this process is made the one that inherits orphans, and waits for them.
    """
    log = open(os.path.join(WORK, "last.log"), "w")
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command[:2])} failed, see {log.name}")
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return wall, cpu, peak * 1024
        cpu, peak = cpu + usage.ru_utime + usage.ru_stime, max(peak, usage.ru_maxrss)


COMPARE = """
import duckdb, json, sys
con = duckdb.connect()
con.execute("SET TimeZone = 'UTC'")
made = {}
for table, path in json.loads(sys.argv[1]).items():
    columns = con.execute(f"DESCRIBE SELECT * FROM read_parquet('{path}')").fetchall()
    names = sorted(name for name, *_ in columns if name != 'dt')
    # Every engine has its own types for the same values: instants and whole numbers become one.
    values = []
    for name, kind, *_ in columns:
        if name in names:
            cast = 'TIMESTAMPTZ' if 'TIMESTAMP' in kind else 'BIGINT' if 'INT' in kind else kind
            values.append((name, f'CAST("{name}" AS {cast})'))
    row = ', '.join(value for _, value in sorted(values))
    query = f"SELECT count(*), sum(hash({row})::HUGEINT) FROM read_parquet('{path}')"
    rows, hashes = con.execute(query).fetchone()
    made[table] = [rows, str(hashes)]
print(json.dumps(made))
"""


def compare(interpreter: str, files: dict[str, str]) -> dict:
    import json

    command = [interpreter, "-c", COMPARE, json.dumps(files)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default="recctl,duckdb,polars,spark")
    parser.add_argument("--recctl", default=os.path.join(ROOT, "target", "release", "recctl"))
    parser.add_argument("--memory", default="1GB", help="recctl's --memory-limit")
    given = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    interpreter = python()
    folder = project(given.recctl, given.events)
    lake = os.path.join(folder, ".recctl", "lake")
    engines = given.engines.split(",")
    steps = "+session_events +interactions +item_popularity +user_profiles"
    figures: dict[str, list] = {engine: [] for engine in engines}
    made: dict[str, dict] = {}
    for round_ in range(given.rounds):
        for engine in engines:
            out = os.path.join(WORK, f"out-{engine}")
            shutil.rmtree(out, ignore_errors=True)
            os.makedirs(out)
            if engine == "recctl":
                for old in glob.glob(os.path.join(folder, ".recctl", "*")):
                    if not old.endswith("lake"):
                        shutil.rmtree(old) if os.path.isdir(old) else os.remove(old)
                shutil.rmtree(os.path.join(lake, "tables"), ignore_errors=True)
                command = [given.recctl, "run", "daily", "--date", DAY, "--select", steps]
                command += ["--memory-limit", given.memory]
            else:
                job = os.path.join(HERE, f"{engine}_job.py")
                command = [interpreter, job, lake, DAY, out]
                command += ["16GB"] if engine == "duckdb" else []
            figures[engine].append(timed(command, folder))
            wall, cpu, peak = figures[engine][-1]
            progress = f"round {round_ + 1} {engine}: {wall:.2f} s, {cpu:.2f} s CPU, {peak / 1e6:.0f} MB"
            print(progress, file=sys.stderr)
            if round_ == 0:
                where = f"{lake}/tables/{{}}/*/*/*.parquet" if engine == "recctl" else f"{out}/{{}}.parquet"
                where = where if engine != "spark" else where + "/*.parquet"
                made[engine] = compare(interpreter, {name: where.format(name) for name in TABLES})
    first = engines[0]
    for engine in engines[1:]:
        for table in TABLES:
            if made[engine][table] != made[first][table]:
                sys.exit(f"{engine} and {first} disagree on {table}: {made[engine][table]}, {made[first][table]}")
    median = {
        engine: [statistics.median(column) for column in zip(*rows)]
        for engine, rows in figures.items()
    }
    base = median.get("duckdb", median[first])
    versions = {"recctl": subprocess.run([given.recctl, "--version"], capture_output=True, text=True).stdout.split()[-1]}
    versions.update({"duckdb": PEERS["duckdb"], "polars": PEERS["polars"], "spark": PEERS["pyspark"]})
    counted = "one round" if given.rounds == 1 else f"{given.rounds} rounds in turn, medians"
    print(f"{given.events:,} events, {counted}; {os.cpu_count()} processors, {platform.machine()}, {time.strftime('%Y-%m-%d')}. All tables equal row for row.\n")
    print("| engine | version | wall | CPU | peak memory | wall, CPU ÷ DuckDB's | lines that cannot be read |")
    print("|---|---|---:|---:|---:|---:|---|")
    for engine in engines:
        wall, cpu, peak = median[engine]
        ratio = f"{wall / base[0]:.2f}, {cpu / base[1]:.2f}"
        print(f"| {engine} | {versions[engine]} | {wall:.1f} s | {cpu:.1f} s | {peak / 1e6:,.0f} MB | {ratio} | {BAD_LINES[engine]} |")


if __name__ == "__main__":
    main()
