"""`versioned_image`: the reference of an image of this build."""

import json
import pathlib


def versioned_image(image_name: str) -> str:
    """The reference, by digest, of the image that the repository's configuration calls `image_name`."""
    images = json.loads(pathlib.Path(__file__).with_name("images.json").read_text(encoding="utf-8"))
    if image_name not in images:
        known = ", ".join(sorted(images)) or "none"
        raise ValueError(f"no image `{image_name}` in this build; its images: {known}")
    return images[image_name]
