"""The code that `export` writes beside weights that no class of `transformers` fits; imports nothing of ours."""
