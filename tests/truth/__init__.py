"""A model server and a platform whose truth is known, and an observer that records them as the kit would."""
