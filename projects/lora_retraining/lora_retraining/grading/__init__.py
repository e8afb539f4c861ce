"""Grade answers objectively: final answers by value, code by its tests in a confined child process."""
