"""The Envoy endpoint picker: the same scheduler behind Envoy's ``ext_proc``."""
