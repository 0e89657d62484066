"""File → chunks → typed rows → clean text → token ids; shared by prepare and score."""
