"""The table of domains: what each is called, what it looks like and how it is loaded. A new domain is a new entry."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from mtlgrad.compare.checks import one_of
from tasks.uda.data import digits, folders, photos, real, styles
from tasks.uda.data.domain import DIGITS, Domain, Split
from tasks.uda.data.frame import SIZE

PROTOCOLS = ("held-out", "full", "sampled")
"""Which images of MNIST, USPS and SVHN are trained on, where they are read from `data_dir`.

held-out: 90 % of the training set; the rest validates. full: the whole training set, as CDAN's lists have it; where it
is the source, its test set validates. sampled: 2,000 of MNIST and 1,800 of USPS, as MCD, DWL and GVB have it, drawn
whatever their labels, and the whole of SVHN as in `full`.
"""


@dataclass(frozen=True)
class Request:
    """How a domain is wanted.

    channels, size: of its images. seed: of what is rendered. data_dir: the folder with a folder for each domain, or
    None. protocol: one of `PROTOCOLS`.
    """

    channels: int
    size: int
    seed: int = 0
    data_dir: str | None = None
    protocol: str = "held-out"


@dataclass(frozen=True)
class Entry:
    """A domain.

    load: from what is wanted to the domain. classes: names; None: told by the data. size: the side, in pixels, that its
    images have in a pair with a domain of the same size or a larger one. colour: whether it is in colour. grey: whether
    published protocols turn what it is paired with grey. data: whether it comes with installed packages ("none"), is
    read from `data_dir` ("needed"), comes with packages and is read from `data_dir` where one is given ("either"), or
    is fetched by a command of the Makefile ("fetched").
    trained_on: images in the training part, where that is known beforehand.
    """

    load: Callable[[Request], Domain]
    classes: tuple[str, ...] | None
    size: int
    colour: bool = False
    grey: bool = False
    data: str = "none"
    trained_on: int | None = None


def _mnist(request: Request) -> Domain:
    return digits.mnist() if request.data_dir is None else folders.digits("mnist", request)


DOMAINS: dict[str, Entry] = {
    "font": Entry(lambda wanted: digits.font(wanted.seed), DIGITS, SIZE, trained_on=digits.COUNTS["font"][0]),
    "optical": Entry(lambda wanted: digits.optical(), DIGITS, SIZE, trained_on=digits.COUNTS["optical"][0]),
    "mnist": Entry(_mnist, DIGITS, 32, data="either", trained_on=digits.COUNTS["mnist"][0]),
    "scene": Entry(
        lambda wanted: digits.scene(wanted.seed), DIGITS, SIZE, colour=True, trained_on=digits.COUNTS["scene"][0]
    ),
    "usps": Entry(lambda wanted: folders.digits("usps", wanted), DIGITS, 28, grey=True, data="needed"),
    "svhn": Entry(lambda wanted: folders.digits("svhn", wanted), DIGITS, 32, colour=True, data="needed"),
    **{
        name: Entry(
            partial(styles.load, name),
            styles.CLASSES,
            styles.SIZE,
            colour=True,
            data="fetched",
            trained_on=styles.COUNTS[0],
        )
        for name in styles.STYLES
    },
    **{
        f"{collection}/{domain}": Entry(
            partial(real.load, collection, domain), None, photos.SIDE, colour=True, data="needed"
        )
        for collection, about in real.COLLECTIONS.items()
        for domain in about.domains
    },
}
"""Name to entry."""

BUILT_IN = tuple(name for name, entry in DOMAINS.items() if entry.data in ("none", "either"))
"""Domains that come with installed packages."""
FROM_FOLDER = tuple(name for name, entry in DOMAINS.items() if entry.data in ("needed", "either"))
"""Domains read from `data_dir`; `mnist` is one of them where `data_dir` is given."""
TRAINED_ON = {name: entry.trained_on for name, entry in DOMAINS.items() if entry.trained_on is not None}
"""Images in the training parts of the domains that are the same for everyone."""


def image_shape(source: str, target: str) -> tuple[int, int]:
    """Channels and size that a pair of domains is brought to: the smaller of their sizes, in colour if one of them is.

    Grey with USPS, as in the published protocols.

    >>> image_shape("font", "optical"), image_shape("mnist", "scene"), image_shape("mnist", "font")
    ((1, 16), (3, 16), (1, 16))
    >>> image_shape("mnist", "usps"), image_shape("svhn", "mnist")
    ((1, 28), (3, 32))
    """
    pair = [_entry(name) for name in (source, target)]
    coloured = any(entry.colour for entry in pair) and not any(entry.grey for entry in pair)
    return (3 if coloured else 1), min(entry.size for entry in pair)


def check_data_dir(name: str, data_dir: str | None) -> None:
    """ValueError if `data_dir` is missing where a domain needs it, or means a hub that the domain does not come from.

    >>> check_data_dir("usps", "hub")
    """
    entry = _entry(name)
    photographs = entry.classes is None
    allowed = f"a folder that holds {name!r}"
    if name in folders.HUB:
        allowed = f"{allowed}, or 'hub'"
    elif photographs:
        allowed = f"{allowed}, or 'hub:OWNER/NAME', a repository of the Hugging Face hub that has its collection"
    else:
        allowed = f"none, or {allowed}"
    if data_dir is None:
        if entry.data == "needed":
            raise ValueError(f"data_dir=None does not do for {name!r}; allowed: {allowed}")
    elif entry.data != "none" and data_dir.partition(":")[0] == "hub":  # a folder of that name is called ./hub
        named = re.fullmatch(r"hub:\w[\w.-]*/\w[\w.-]*", data_dir) is not None
        if not (photographs and named) and not (name in folders.HUB and data_dir == "hub"):
            raise ValueError(f"data_dir={data_dir!r} has no meaning for {name!r}; allowed: {allowed}")


def classes_of(source: str, target: str) -> tuple[str, ...]:
    """The names of the classes that two domains share, as far as they are known before anything is loaded.

    Those of photographs are known once they are loaded: then `Domain.classes` has them, and here they are ().

    Raises
    ------
    ValueError
        Their classes differ, or they are of different collections of photographs.

    >>> classes_of("font", "mnist")[:3]
    ('0', '1', '2')
    """
    first, second = (_entry(name).classes for name in (source, target))
    if first is None and second is None and source.partition("/")[0] == target.partition("/")[0]:
        return ()
    if first != second or first is None:
        raise ValueError(
            f"{source!r} and {target!r} have different classes: {first or 'its own'} and {second or 'its own'}; "
            "allowed: the same"
        )
    return first


def load_pair(
    source: str, target: str, *, seed: int = 0, data_dir: str | None = None, protocol: str = "held-out"
) -> tuple[Domain, Domain]:
    """Two domains in the shape of their pair; arguments as in `load_domain`.

    Raises
    ------
    ValueError, FileNotFoundError
        As `load_domain`; and if the data have different classes, or lists that number them differently.

    Examples
    --------
    >>> [domain.train.images.shape[1:] for domain in load_pair("optical", "mnist")]
    [torch.Size([1, 16, 16]), torch.Size([1, 16, 16])]
    """
    channels, size = image_shape(source, target)
    for name in (source, target):  # both, before one is loaded
        check_data_dir(name, data_dir)
    first, second = (
        load_domain(name, channels=channels, size=size, seed=seed, data_dir=data_dir, protocol=protocol)
        for name in (source, target)
    )
    if first.classes != second.classes:
        only = [sorted(set(a.classes) - set(b.classes)) for a, b in ((first, second), (second, first))]
        raise ValueError(
            f"{source!r} and {target!r} in {data_dir} have different classes: {only[0]} are in the first alone and "
            f"{only[1]} in the second alone; allowed: the same"
        )
    for kind, one, other in zip(first.classes, first.numbers, second.numbers, strict=False):  # not all have lists
        if one != other:
            raise ValueError(
                f"the lists of {source!r} and {target!r} in {data_dir} give class {kind!r} the numbers {one} and "
                f"{other}; allowed: the same"
            )
    return first, second


def load_domain(
    name: str,
    *,
    channels: int,
    size: int,
    seed: int = 0,
    data_dir: str | None = None,
    protocol: str = "held-out",
) -> Domain:
    """Load a domain by name; images come back at `channels` x `size` x `size`.

    Parameters
    ----------
    name:
        A key of `DOMAINS`.
    channels, size:
        See `image_shape`. The built-in digits are 16x16 only; in grey they may have three equal channels.
    seed:
        Of what is rendered, for `font` and `scene`; the other domains do not depend on it.
    data_dir:
        Holds a folder per name, for `FROM_FOLDER`, or per collection, for photographs. "hub": MNIST, USPS and SVHN are
        downloaded from the Hugging Face hub. "hub:OWNER/NAME": so are photographs, from that repository.
    protocol:
        One of `PROTOCOLS`, for digits from `data_dir`.

    Raises
    ------
    ValueError
        Unknown name, a domain at a size or in a colour that it does not come in, or no `data_dir` where one is needed;
        "hub" where it has no meaning.
    FileNotFoundError
        `data_dir` has no such folder, or what is fetched is not there.

    Examples
    --------
    >>> domain = load_domain("optical", channels=1, size=16)
    >>> len(domain.train), len(domain.validation), len(domain.test)
    (1078, 180, 539)
    """
    entry = _entry(name)
    one_of("channels", channels, (1, 3))
    built_in = entry.data in ("none", "fetched") or (entry.data == "either" and data_dir is None)
    if built_in:
        allowed = SIZE if entry.data == "either" else entry.size
        if size != allowed or (entry.colour and channels == 1):
            colours = "3 channels" if entry.colour else "1 or 3 channels"
            more = f"; any other: {name!r} needs data_dir" if entry.data == "either" else ""
            raise ValueError(
                f"domain {name!r} comes with {colours} at {allowed} pixels, got channels={channels}, size={size}{more}"
            )
    elif data_dir is None:
        about = real.COLLECTIONS.get(name.partition("/")[0])
        expected = folders.EXPECTED if about is None else about.expected
        raise ValueError(f"domain {name!r} needs data_dir, a folder that holds {name!r}: {expected}")
    elif entry.classes is None and (channels, size) != (3, photos.SIDE):
        raise ValueError(
            f"domain {name!r} comes with 3 channels at {photos.SIDE} pixels, got channels={channels}, size={size}"
        )
    check_data_dir(name, data_dir)
    domain = entry.load(Request(channels, size, seed, data_dir, protocol))
    return domain if domain.train.images.shape[1] == channels else _in_colour(domain)


def _in_colour(domain: Domain) -> Domain:
    """Grey images with three equal channels."""
    parts: dict[str, Any] = {
        part: Split(torch.as_tensor(split.images).expand(-1, 3, -1, -1).contiguous(), split.labels)
        for part, split in (("train", domain.train), ("validation", domain.validation), ("test", domain.test))
    }
    return Domain(domain.name, **parts, classes=domain.classes)


def _entry(name: str) -> Entry:
    if name not in DOMAINS:
        raise ValueError(f"unknown domain {name!r}; allowed: {tuple(DOMAINS)}")
    return DOMAINS[name]
