"""The processes behind the front: the zygote, the workers and handlers that it forks, and the way to talk to them."""
