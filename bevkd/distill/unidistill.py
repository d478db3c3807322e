"""The same module as :mod:`bevkd.methods.unidistill`, under the name that scripts import it by."""

import sys

import bevkd.methods.unidistill

sys.modules[__name__] = bevkd.methods.unidistill
