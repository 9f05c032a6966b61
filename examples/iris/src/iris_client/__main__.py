"""python -m iris_client URL 5.1,3.5,1.4,0.2 ..."""

import argparse
import json

from iris_client import ask, kinds, request_body


def self_test() -> None:
    body = json.loads(request_body([[5.1, 3.5, 1.4, 0.2]]))
    assert body == {"instances": [[5.1, 3.5, 1.4, 0.2]]}, body
    assert kinds(b'{"predictions": [0, 2]}') == ["setosa", "virginica"]
    try:
        request_body([[1.0]])
    except ValueError:
        return
    raise AssertionError("a flower with one measurement was accepted")


def main() -> None:
    parser = argparse.ArgumentParser(prog="iris_client", description="Asks a live iris model.")
    parser.add_argument("url", nargs="?", help="the model's URL, ending in :predict")
    parser.add_argument("flowers", nargs="*", help="four measurements in cm, separated by commas")
    parser.add_argument("--self-test", action="store_true", help="check this program without a model")
    arguments = parser.parse_args()
    if arguments.self_test:
        self_test()
        return
    if not arguments.url or not arguments.flowers:
        parser.error("a URL and at least one flower are needed")
    flowers = [[float(number) for number in flower.split(",")] for flower in arguments.flowers]
    for flower, kind in zip(flowers, ask(arguments.url, flowers)):
        print(*flower, kind)


if __name__ == "__main__":
    main()
