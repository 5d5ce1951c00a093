"""The stage conversations: instruction data in the shapes people have becomes conversations with their ids."""
