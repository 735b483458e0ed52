"""Renders labelled multi-camera clips of dm_control's animals: see ../render_samples.py."""
