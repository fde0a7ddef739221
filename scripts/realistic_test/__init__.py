"""What `scripts/build_realistic_test.py` renders: skin, things, places and lights for Blender's Cycles."""
