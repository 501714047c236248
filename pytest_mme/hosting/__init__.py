"""The platform's side of an endpoint: download, load, evict, retry; and the endpoint as a test holds it."""
