"""What a declared model becomes: one module per stage of its life, assembled by `build`."""
