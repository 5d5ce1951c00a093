"""Names that the corpus, the tokens and the model share."""

EMOTIONS = ("joy", "sadness", "anger", "fear", "disgust", "surprise", "trust", "anticipation")  # of an affect vector
SPLITS = ("train", "held_out")
