"""Name a good record of the topic as one that had to be refused, in the words of the drill's own planting program.

python innocent.py plant CONFIG
"""

from __future__ import annotations

import json
import sys

from eventlog.config import load
from eventlog.hops.kafka import KafkaHop

ends = KafkaHop(load(sys.argv[2]), 20.0).read().partitions
partition, end = max(ends.items(), key=lambda item: item[1])
print(json.dumps([{"name": "a good record", "reason": "not JSON", "partition": partition, "offset": end - 1}]))
