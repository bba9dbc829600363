"""Office-31, Office-Home, VisDA-2017 and DomainNet, from the folders that their authors' archives unpack to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tasks.uda.data.domain import Domain, Split
from tasks.uda.data.photos import Cache, Photos
from tasks.uda.data.tables import EXPECTED, Rows, is_table, photographs
from tasks.uda.data.trees import Listing, class_folders, first_folder, list_file

if TYPE_CHECKING:
    from tasks.uda.data.table import Request

_VALIDATED = 0.1
"""Share of the training images that also validate: the published protocols hold none out."""


@dataclass(frozen=True)
class Collection:
    """A data set of several domains.

    folder: its name in `data_dir`. domains: our names to its own. classes: how many there are in the whole set.
    expected: the layout, for errors. read: from the data set's folder, a domain's own name and this entry to the parts.
    parted: whether its domains have a training and a test part.
    """

    folder: str
    domains: dict[str, str]
    classes: int
    expected: str
    read: Callable[[Path, str, Collection], Parts]
    parted: bool = False


@dataclass(frozen=True)
class Parts:
    """The images of the training and of the test part, which are the same where the published protocol adapts to the
    images it tests on; and the number that lists give each class, where there are lists.
    """

    train: Listing | Rows
    test: Listing | Rows
    numbers: dict[str, int]


def _office31(root: Path, domain: str, about: Collection) -> Parts:
    expected = about.expected
    found = class_folders(first_folder([root / domain / "images", root / domain], expected=expected), expected=expected)
    return Parts(found, found, {})


def _office_home(root: Path, domain: str, about: Collection) -> Parts:
    spellings = dict.fromkeys([domain, domain.replace(" ", ""), domain.replace(" ", "_")])
    folder = first_folder([root / spelling for spelling in spellings], expected=about.expected)
    found = class_folders(folder, expected=about.expected)
    return Parts(found, found, {})


def _visda(root: Path, domain: str, about: Collection) -> Parts:
    folder = first_folder([root / domain], expected=about.expected)
    listed = folder / "image_list.txt"
    if not listed.exists():
        found = class_folders(folder, expected=about.expected)
        return Parts(found, found, {})
    found, numbers = list_file(listed, folder, root=folder, classes=about.classes, expected=about.expected)
    return Parts(found, found, numbers)


def _domainnet(root: Path, domain: str, about: Collection) -> Parts:
    (train, numbers), (test, others) = (
        list_file(
            root / f"{domain}_{part}.txt", root / domain, root=root, classes=about.classes, expected=about.expected
        )
        for part in ("train", "test")
    )
    for kind, number in others.items():
        if number != numbers.get(kind, number):
            raise ValueError(
                f"{root / domain}_test.txt gives class {kind!r} the number {number}, and {domain}_train.txt "
                f"{numbers[kind]}; allowed: the same"
            )
    both = {path for path, _ in train} & {path for path, _ in test}
    if both:
        raise ValueError(f"{root / domain}_test.txt lists {min(both)}, which is in the training list too")
    return Parts(train, test, numbers)


COLLECTIONS = {
    "office31": Collection(
        "office31",
        {"amazon": "amazon", "dslr": "dslr", "webcam": "webcam"},
        31,
        "office31/<domain>/images/<class>/*.jpg for the domains amazon, dslr and webcam",
        _office31,
    ),
    "office-home": Collection(
        "office-home",
        {"art": "Art", "clipart": "Clipart", "product": "Product", "real_world": "Real World"},
        65,
        "office-home/<domain>/<class>/*.jpg for the domains Art, Clipart, Product and Real World",
        _office_home,
    ),
    "visda": Collection(
        "visda",
        {"synthetic": "train", "real": "validation"},
        12,
        "visda/train and visda/validation, each with <class>/*.png or *.jpg, and image_list.txt (path, number)",
        _visda,
    ),
    "domainnet": Collection(
        "domainnet",
        {name: name for name in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")},
        345,
        "domainnet/<domain>/<class>/*.jpg with domainnet/<domain>_train.txt and _test.txt: path and number a line",
        _domainnet,
        parted=True,
    ),
}


def load(collection: str, domain: str, wanted: Request) -> Domain:
    """A domain of a collection from `data_dir`/<collection>, a tree or a table, or from the hub for "hub:OWNER/NAME".

    Raises
    ------
    FileNotFoundError
        A folder or a list is not there.
    ValueError
        What is there is not as expected, has more classes than the data set, or the parts have different classes.
    """
    assert wanted.data_dir is not None
    return _load(collection, domain, wanted.data_dir)


@lru_cache(maxsize=2)  # the last pair: what others keep of their photographs makes room
def _load(collection: str, domain: str, data_dir: str) -> Domain:
    about = COLLECTIONS[collection]
    root, names = Path(data_dir) / about.folder, (domain, about.domains[domain])
    hub = data_dir.startswith("hub:")
    where = data_dir.removeprefix("hub:") if hub else str(root)
    if hub or is_table(root):
        table = photographs((where,) if hub else root, names, parted=about.parted)
        parts, expected = Parts(*table, {}), EXPECTED
    else:
        parts, expected = about.read(root, names[1], about), about.expected
    classes = tuple(sorted({kind for _, kind in parts.train}))
    unknown = sorted({kind for _, kind in parts.test} - set(classes))
    if unknown:
        raise ValueError(f"{where}: the test part of {domain} has classes that training has not: {unknown}")
    if not 2 <= len(classes) <= about.classes:
        raise ValueError(
            f"{where}: {domain} has {len(classes)} classes, {classes[:3]} ...; allowed: 2 to {about.classes}, as "
            f"many as the data set has; expected: {expected}"
        )
    cache = Cache()
    train, test = (_split(part, classes, cache) for part in (parts.train, parts.test))
    # always the same images, and as many of each class as its share says
    order = np.argsort(train.labels.numpy(), kind="stable")
    rows = torch.from_numpy(order[:: round(1 / _VALIDATED)].copy())
    numbers = tuple(parts.numbers[kind] for kind in classes) if parts.numbers else ()
    return Domain(f"{collection}/{domain}", train, train.part(rows), test, classes, numbers)


def _split(listing: Listing | Rows, classes: tuple[str, ...], cache: Cache) -> Split:
    numbers = {kind: number for number, kind in enumerate(classes)}
    labels = torch.tensor([numbers[kind] for _, kind in listing], dtype=torch.int64)
    return Split(Photos([path for path, _ in listing], cache=cache), labels)
