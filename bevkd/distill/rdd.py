"""The same module as :mod:`bevkd.methods.rdd`, under the name that scripts import it by."""

import sys

import bevkd.methods.rdd

sys.modules[__name__] = bevkd.methods.rdd
