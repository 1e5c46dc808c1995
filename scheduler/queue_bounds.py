"""How many requests may wait, and how many of one tenant: in number and in bytes.

Called by the flow control only.
"""

from scheduler.actions import ShedReason
from scheduler.settings import SchedulerSettings


class QueueBounds:
    """Count what waits.

    Attributes:
        settings: Bounds.
        waiting_requests: How many wait.
        waiting_bytes: Of their prompts.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings
        self.waiting_requests = 0
        self.waiting_bytes = 0
        self._bytes_of: dict[str, int] = {}  # by tenant
        self._count_of: dict[str, int] = {}

    def full_for(self, tenant: str | None, size_bytes: int) -> ShedReason | None:
        """Say which bound one more would break, ``None`` for none."""
        settings = self.settings
        most, most_bytes = settings.max_waiting_requests, settings.max_waiting_bytes
        if tenant is not None:
            share = settings.max_tenant_ratio
            # One request fits whatever the share.
            count, held_bytes = self._count_of.get(tenant, 0), self._bytes_of.get(tenant, 0)
            if count and (count >= share * most or held_bytes + size_bytes > share * most_bytes):
                return "tenant_queue_full"
        if self.waiting_requests >= most or self.waiting_bytes + size_bytes > most_bytes:
            return "queue_full"
        return None

    def came(self, tenant: str | None, size_bytes: int) -> None:
        """Count one more."""
        self._count(tenant, 1, size_bytes)

    def left(self, tenant: str | None, size_bytes: int) -> None:
        """Count one less."""
        self._count(tenant, -1, -size_bytes)

    def _count(self, tenant: str | None, change: int, change_bytes: int) -> None:
        self.waiting_requests += change
        self.waiting_bytes += change_bytes
        if tenant is None:
            return
        self._count_of[tenant] = self._count_of.get(tenant, 0) + change
        self._bytes_of[tenant] = self._bytes_of.get(tenant, 0) + change_bytes
        if not self._count_of[tenant]:
            del self._count_of[tenant], self._bytes_of[tenant]
