"""The command line, `keras-kd`: one module per command."""

from keras_kd.cli.main import main as main
