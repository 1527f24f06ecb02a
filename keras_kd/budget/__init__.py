"""From a budget to a file: choose the student, distill, compress, export and verify it."""
