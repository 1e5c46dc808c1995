"""Spans of finished requests and their way to a collector; needs the extra ``tracing``."""
