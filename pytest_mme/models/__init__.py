"""What is served: specifications, the SavedModels made from them, their archives and their expected predictions."""
