"""Streams a raw image onto a disk with ironic-python-agent's own code.

    ironic.py URL DEVICE SHA256

For:     repository.py, in a virtual environment that has ironic-python-agent.
Leaves:  the image on the disk. It prints, as JSON, what the start cost: in real life the agent runs already.
         It calls StandbyExtension._stream_raw_image_onto_device of ironic_python_agent/extensions/standby.py: chunks of
         1 MiB are fetched, hashed and written through the page cache; the digest is compared in the end.
"""

import json
import sys
import time

START = time.perf_counter()

from ironic_python_agent import config  # noqa: E402: it registers the options that the next import reads
from ironic_python_agent.extensions import standby  # noqa: E402


def main() -> None:
    url, device, sha256 = sys.argv[1:]
    config.CONF([], project="ironic-python-agent")
    extension = standby.StandbyExtension()
    extension.partition_uuids = {}
    print(json.dumps({"start_wall_seconds": time.perf_counter() - START, "start_cpu_seconds": time.process_time()}))
    image = {"id": "bench", "urls": [url], "os_hash_algo": "sha256", "os_hash_value": sha256}
    extension._stream_raw_image_onto_device(image, device)


if __name__ == "__main__":
    main()
