"""Serve from several processes on one machine as if they were one."""
