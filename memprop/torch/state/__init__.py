"""What a step may touch of the user's program, and how it is put back as it was."""
