"""The processes behind the front: the zygote, the workers and handlers that it starts, and the channel to them."""
