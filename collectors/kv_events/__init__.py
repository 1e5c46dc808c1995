"""What endpoints announce of their KV caches, over ZMQ, as vLLM publishes it."""

from collectors.kv_events.decoding import decode_batch
from collectors.kv_events.feeds import KvEventFeeds
from collectors.kv_events.history import History
from collectors.kv_events.subscriber import FeedCounts, KvEventListener, Loss, Subscriber

__all__ = [
    "FeedCounts",
    "History",
    "KvEventFeeds",
    "KvEventListener",
    "Loss",
    "Subscriber",
    "decode_batch",
]
