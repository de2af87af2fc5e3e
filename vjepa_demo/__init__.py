"""V-JEPA 2 Explorer: a clip in, what the video encoder makes of it out."""
