"""Files: sound, video and pictures in and out, marks and provenance."""
