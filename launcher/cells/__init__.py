"""What a matrix gives for each of its runs, with the place of everything in the file."""
