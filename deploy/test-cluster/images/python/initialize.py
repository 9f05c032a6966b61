# The storage initializer: SOURCE FOLDER [SOURCE FOLDER]...; KServe's own code fetches each source.
import os
import sys

from kserve_storage import Storage

sources, folders = sys.argv[1::2], sys.argv[2::2]
for folder in folders:
    os.makedirs(folder, exist_ok=True)
Storage.download_files(sources, folders)
