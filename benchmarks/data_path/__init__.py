"""What the data path costs, beside other routers on the same machine."""
