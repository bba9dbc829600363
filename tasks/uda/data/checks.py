"""Whether two domains can be adapted to each other, told from the options alone, before anything is loaded."""

from __future__ import annotations

from mtlgrad.compare.checks import integer, one_of, text_or_none
from tasks.uda.data import folders
from tasks.uda.data.domain import count_apart
from tasks.uda.data.table import DOMAINS, PROTOCOLS, check_data_dir, classes_of


def check_pair(
    source: str,
    target: str,
    *,
    batch_size: int,
    data_dir: str | None,
    protocol: str = "held-out",
    held_out: float = 0.0,
) -> None:
    """Raise unless two domains can be adapted to each other, from what is given, before anything is loaded.

    Parameters
    ----------
    source, target, batch_size, data_dir, protocol:
        As the options of `tasks.uda.task.UDA`.
    held_out:
        Share of the target's training images that the system sets aside.

    Raises
    ------
    ValueError, TypeError
        An unknown domain, the same one twice, or two of different classes; a batch larger than what is trained on;
        `data_dir` missing where it is needed, or given where it has no effect or no meaning; so with `protocol`.

    >>> check_pair("font", "optical", batch_size=64, data_dir=None)
    """
    one_of("source", source, DOMAINS)
    one_of("target", target, [name for name in DOMAINS if name != source])
    classes_of(source, target)
    text_or_none("data_dir", data_dir)
    pair = {name: DOMAINS[name] for name in (source, target)}
    _check_batch_size(source, target, batch_size, data_dir, held_out)
    one_of("protocol", protocol, PROTOCOLS)
    if protocol != "held-out" and (data_dir is None or not set(pair) & set(folders.HUB)):
        raise ValueError(
            f"protocol={protocol!r} has no effect on {source!r} and {target!r}; allowed: 'held-out', or mnist, usps or "
            "svhn from data_dir"
        )
    for name in pair:
        check_data_dir(name, data_dir)
    if data_dir is not None and all(entry.data == "none" for entry in pair.values()):
        raise ValueError(f"data_dir={data_dir!r} has no effect: {source!r} and {target!r} are built in; allowed: none")


def _check_batch_size(source: str, target: str, batch_size: int, data_dir: str | None, held_out: float) -> None:
    """Against the parts whose size is the same for everyone; others show when they are loaded."""
    integer("batch_size", batch_size, low=2)  # batch norm needs two
    limits = []
    for name, role, share in ((source, "source", 0.0), (target, "target", held_out)):
        total = DOMAINS[name].trained_on
        if total is not None and (DOMAINS[name].data != "either" or data_dir is None):
            limits.append((total - count_apart(total, share), name, role))
    limit, name, role = min(limits, default=(batch_size, "", ""))
    if batch_size > limit:
        raise ValueError(
            f"batch_size={batch_size} is out of range; allowed: int >= 2 and <= {limit}, the images of {name!r}, the "
            f"{role}, that are trained on"
        )
