"""The images that the project brings: their Dockerfiles and contexts as package data, and what builds them."""
