"""The cost of 1 GB to 100 TB on paper: unit costs times the size, for the tables of docs/scale.md.

    python benchmarks/scale.py --paper

A unit cost was measured by the command beside it. After a new measurement, change it here and print the tables again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

GB, TB = 1e9, 1e12
DOCUMENT = 2000  # bytes of text
SHARD = 256e6  # bytes of text, of a corpus of 1 TB and more
COMPRESSED = 0.44  # Parquet with zstd beside text: 0.79 of 1.79 GB of web-like text, with all columns
TOKENS = 0.48  # two bytes a token, of 4.14 bytes of text
BLOCK = 16e6  # bytes of a request; `BLOCK` of aura/storage/store.py
RANGES, GROUPS = 4096, 2048  # at most, in `select`; a group grows once there are half of 4,096
GROUP_BYTES, GROUP_SHARDS, RANGE_DOCUMENTS, SHARDS_A_TASK = 128e6, 64, 1e6, 4
BANDS = 9  # at a similarity of 0.8

# Seconds of one core for a GB of text.
EXTRACT = 26.2  # benchmarks/results/formats.md: 5.24 s for 200 MB in 8 .jsonl.gz, affect and accounts included
COPY = 10.0  # scale.py --only near: `select` without near duplicates
SIGN = 105.0  # scale.py --only near: 9.6 s for 90 MB
COUNT = 21.6  # docs/notes.md: counts of 107 MB in 2.3 s
ENCODE = 24.4  # 41 MB/s; benchmarks/encode_shards.py
# Seconds of one core for a document.
EXACT = 0.51e-6  # scale.py --only exact
# Seconds of one core, whatever the size.
TRAIN, VALIDATE = 80.0, 20.0  # 5 million segments at 16 µs; 32 MB of held-out text, estimated
# Requests for a shard that is smaller than a block, (read, write): scale.py --only requests
REQUESTS = {
    "extract": (2, 4),
    "select": (12, 5),
    "train_tokenizer": (8.5, 1.3),
    "validate": (0, 0),
    "encode": (12, 5.9),
}
# Bytes for each byte of text, (read, written); `select` reads shards for columns, signatures and text. The tables of
# counts are estimated.
TRANSFERS = {"extract": (COMPRESSED, COMPRESSED), "select": (3 * COMPRESSED, COMPRESSED)} | {
    "train_tokenizer": (COMPRESSED, 0.05),
    "validate": (0, 0),
    "encode": (COMPRESSED, TOKENS),
}
DRIVER, DRIVER_SHARD = 150e6, 6300  # bytes; scale.py --only select shards
TASK, TASK_DOCUMENT = 110e6, 220  # bytes of a task, and for a document of its group; scale.py --only select: 1,082 MB
SMALL_TASK = 300e6  # bytes of any task; docs/contracts.md
DISK, DISK_SIGNED = 100 + 40, 512 + 16 * BANDS  # bytes a document while `select` runs; docs/contracts.md
SCHEDULER = 1.07e-3  # seconds of Dask's scheduler for a task
# Dollars; list prices of Google Cloud in us-central1, 2026.
CORE_HOUR = 0.0335  # an e2 core with its memory
READ, WRITE, GB_MONTH = 0.4e-6, 5e-6, 0.02


@dataclass(frozen=True)
class Plan:
    """A size of corpus, and the machines for it."""

    name: str
    bytes: float
    machines: int
    cores: int  # of each machine
    engine: str
    store: str


PLANS = (
    Plan("1 GB", GB, 1, 8, "none", "none"),
    Plan("100 GB", 100 * GB, 1, 32, "none", "none"),
    Plan("1 TB", TB, 4, 32, "Dask", "a bucket"),
    Plan("10 TB", 10 * TB, 16, 64, "Dask, or `aura work` in an array", "a bucket"),
    Plan("100 TB", 100 * TB, 64, 64, "Dask, or `aura work` in an array", "a bucket"),
)


def shards(size: float) -> int:
    """The shards of a corpus."""
    return ceil(max(size / SHARD, min(16, size / 8e6)))


def seconds(size: float, *, near: bool) -> dict[str, float]:
    """Seconds of one core, by stage."""
    documents, in_gb = size / DOCUMENT, size / GB
    select = (COPY + (SIGN if near else 0)) * in_gb + EXACT * documents
    fixed = min(1, size / GB)  # a smaller corpus has fewer segments
    return {
        "extract": EXTRACT * in_gb,
        "select": select,
        "train_tokenizer": COUNT * in_gb + TRAIN * fixed,
        "validate": VALIDATE * fixed,
        "encode": ENCODE * in_gb,
    }


def tasks(size: float, *, near: bool) -> dict[str, int]:
    """Tasks, by stage."""
    number = shards(size)
    groups = min(ceil(max(size * COMPRESSED / GROUP_BYTES, number / GROUP_SHARDS)), GROUPS)
    ranges = min(ceil(size / DOCUMENT / RANGE_DOCUMENTS), RANGES)
    select = 4 * groups + ceil(ranges / 4) + ranges + ceil(number / SHARDS_A_TASK)
    select += (number + 7 * groups + ranges + 2 * BANDS * ranges) if near else 0
    return {"extract": number, "select": select, "train_tokenizer": number + number // 8, "validate": 1} | {
        "encode": number
    }


def requests(size: float) -> dict[str, tuple[float, float]]:
    """Reading and writing requests, by stage."""
    number = shards(size)
    return {
        stage: (number * read + size * TRANSFERS[stage][0] / BLOCK, number * write)
        for stage, (read, write) in REQUESTS.items()
    }


def dollars(size: float, *, near: bool) -> tuple[float, float, float]:
    """Dollars for cores, for requests, and for a month of what the store then holds."""
    read, write = (sum(one[kind] for one in requests(size).values()) for kind in (0, 1))
    held = size / GB * (2 * COMPRESSED + TOKENS + 0.05)
    return (
        sum(seconds(size, near=near).values()) / 3600 * CORE_HOUR,
        read * READ + write * WRITE,
        held * GB_MONTH,
    )


def _needs() -> Iterator[str]:
    yield "| Corpus | Engine | Store | Machines | Time | Dollars for cores | Disk that `select` shares |"
    yield "|---|---|---|---|---|---|---|"
    for plan in PLANS:
        both = [sum(seconds(plan.bytes, near=near).values()) for near in (False, True)]
        hours = " to ".join(_time(one / plan.machines / plan.cores) for one in both)
        money = " to ".join(_short(one / 3600 * CORE_HOUR) for one in both)
        documents = plan.bytes / DOCUMENT
        disk = " to ".join(_bytes(documents * one) for one in (DISK, DISK + DISK_SIGNED))
        machines = f"{plan.machines} with {plan.cores} cores"
        yield f"| {plan.name} | {plan.engine} | {plan.store} | {machines} | {hours} | {money} | {disk} |"


def _stages(size: float) -> Iterator[str]:
    yield "| Stage | Tasks | Hours of one core | Read requests | Write requests | Bytes read | Bytes written |"
    yield "|---|---|---|---|---|---|---|"
    for stage in REQUESTS:
        cells = [_short(tasks(size, near=True)[stage]), _time(seconds(size, near=True)[stage])]
        cells += [_short(number) for number in requests(size)[stage]]
        cells += [_bytes(size * share) for share in TRANSFERS[stage]]
        yield f"| `{stage}` | {' | '.join(cells)} |"


def _totals() -> Iterator[str]:
    sizes = [plan.bytes for plan in PLANS if plan.bytes >= TB]
    yield f"| | {' | '.join(_bytes(size) for size in sizes)} |"
    yield f"|---|{'---|' * len(sizes)}"
    per_group = {size: max(GROUP_BYTES / COMPRESSED, size / GROUPS) / DOCUMENT for size in sizes}
    rows: dict[str, Callable[[float], str]] = {
        "documents of 2 kB": lambda size: _short(size / DOCUMENT),
        "shards of 256 MB of text": lambda size: _short(shards(size)),
        "tasks": lambda size: _short(sum(tasks(size, near=True).values())),
        "read requests": lambda size: _short(sum(read for read, _ in requests(size).values())),
        "write requests": lambda size: _short(sum(write for _, write in requests(size).values())),
        "bytes read from the store": lambda size: _bytes(size * sum(read for read, _ in TRANSFERS.values())),
        "bytes written to the store": lambda size: _bytes(size * sum(write for _, write in TRANSFERS.values())),
        "disk that `select` shares": lambda size: _bytes(size / DOCUMENT * (DISK + DISK_SIGNED)),
        "memory of the driver": lambda size: _bytes(DRIVER + DRIVER_SHARD * shards(size)),
        "memory of the largest task of `select`": lambda size: _bytes(
            max(SMALL_TASK, TASK + TASK_DOCUMENT * per_group[size])
        ),
        "time of Dask's scheduler": lambda size: _time(SCHEDULER * sum(tasks(size, near=True).values())),
        "time of one core": lambda size: _time(sum(seconds(size, near=True).values())),
        "dollars for cores": lambda size: _short(dollars(size, near=True)[0]),
        "dollars for requests": lambda size: _short(dollars(size, near=True)[1]),
        "dollars for a month of the store": lambda size: _short(dollars(size, near=True)[2]),
    }
    for name, value in rows.items():
        yield f"| {name} | {' | '.join(map(value, sizes))} |"


def _time(value: float) -> str:
    """Seconds, minutes or hours."""
    for unit, size in (("h", 3600), ("min", 60)):
        if value >= size:
            return f"{_short(value / size)} {unit}"
    return f"{_short(value)} s"


def _short(value: float) -> str:
    """A number with two digits that count."""
    if value < 1:
        return f"{value:.2g}"
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if value >= size:
            return f"{_short(value / size)} {unit}"
    digits = len(str(int(value)))
    return f"{round(value, 2 - digits):,.{max(2 - digits, 0)}f}"


def _bytes(value: float) -> str:
    for unit, size in (("TB", TB), ("GB", GB), ("MB", 1e6)):
        if value >= size:
            return f"{_short(value / size)} {unit}"
    return f"{_short(value / 1e3)} kB"


def show() -> None:
    """Print the tables."""
    print(*_needs(), "", *_stages(TB), "", *_totals(), sep="\n")
