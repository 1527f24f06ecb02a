"""Accuracy of students: losses, teachers, few labels, defaults."""
