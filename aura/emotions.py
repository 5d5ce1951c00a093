"""The eight emotions of an affect vector, in its order."""

EMOTIONS = ("joy", "sadness", "anger", "fear", "disgust", "surprise", "trust", "anticipation")
