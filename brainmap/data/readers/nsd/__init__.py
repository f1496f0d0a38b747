"""Readers of the Natural Scenes Dataset and of its Algonauts packaging."""
