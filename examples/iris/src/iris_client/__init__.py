"""Asks a live iris model which kind of iris a flower is."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence

KINDS = ("setosa", "versicolor", "virginica")
MEASUREMENTS = ("sepal length", "sepal width", "petal length", "petal width")


def request_body(flowers: Sequence[Sequence[float]]) -> bytes:
    """The V1 request for flowers, each with its four measurements in centimetres."""
    for flower in flowers:
        if len(flower) != len(MEASUREMENTS):
            raise ValueError(f"a flower has {len(MEASUREMENTS)} measurements, not {len(flower)}")
    return json.dumps({"instances": [list(flower) for flower in flowers]}).encode()


def kinds(response: bytes) -> list[str]:
    """The kinds named in a V1 response."""
    return [KINDS[int(number)] for number in json.loads(response)["predictions"]]


def ask(url: str, flowers: Sequence[Sequence[float]], timeout: float = 10) -> list[str]:
    """Asks the model at `url`, which ends in `:predict`."""
    request = urllib.request.Request(
        url, data=request_body(flowers), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return kinds(response.read())
