"""The bucket of artifacts: a folder, or S3 with signed requests (Signature Version 4)."""

import datetime
import hashlib
import hmac
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request


class Folder:
    """`file:///folder` stands for the bucket."""

    def __init__(self, path):
        self.path = path

    def put(self, key, file):
        target = os.path.join(self.path, key)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(file, target + ".part")
        os.replace(target + ".part", target)


class S3:
    """`http://host:port/bucket`; keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.access, self.secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        self.region = os.environ.get("AWS_REGION", "us-east-1")

    def put(self, key, file):
        with open(file, "rb") as source:
            body = source.read()
        try:
            self.request(f"{self.url}/{urllib.parse.quote(key, safe='/-_.~')}", body)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            # There is no such bucket yet.
            self.request(self.url, b"")
            self.request(f"{self.url}/{urllib.parse.quote(key, safe='/-_.~')}", body)

    def request(self, url, body):
        """One PUT."""
        url = urllib.parse.urlsplit(url)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": url.netloc, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = f"PUT\n{url.path}\n\n{lines}\n{names}\n{digest}"
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signing = b"AWS4" + self.secret.encode()
        for part in (now[:8], self.region, "s3", "aws4_request"):
            signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        request = urllib.request.Request(url.geturl(), data=body, headers=headers, method="PUT")
        with urllib.request.urlopen(request, timeout=30):
            pass


def bucket(url):
    """The bucket behind a URL."""
    if url.startswith("file://"):
        return Folder(url.removeprefix("file://"))
    return S3(url)


def put_tree(store, key, path):
    """A file, or every file of a folder; links are not followed."""
    if os.path.isfile(path) and not os.path.islink(path):
        store.put(key, path)
    elif os.path.isdir(path) and not os.path.islink(path):
        for name in sorted(os.listdir(path)):
            put_tree(store, f"{key}/{name}", os.path.join(path, name))
