"""The numbers both studies print, beside those of a run."""
