"""Is recorded data true? A run is replayed in the world, its splits are compared, and foreign data is replayed too."""
