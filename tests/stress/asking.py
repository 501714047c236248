"""An `inference.py` for tests."""

ASK_OR_RAISE = """
import requests

def handler(data, context):
    reply = requests.post(context.rest_uri, data=data.read())
    reply.raise_for_status()
    return reply.content, context.accept_header
"""
"""Hands the model's answer on; when the model refuses, or is gone, the request fails as a whole."""
