"""Whole trainings on FreiHAND and HO3D: what a recipe says, its steps, running them, and the table in the end."""
