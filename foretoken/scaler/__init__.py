"""Tell an autoscaler how many endpoints fleets need; one process beside the routers."""
