"""What `jobs.bench` measures; needs the extra `dev`."""
