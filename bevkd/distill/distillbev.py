"""The same module as :mod:`bevkd.methods.distillbev`, under the name that scripts import it by."""

import sys

import bevkd.methods.distillbev

sys.modules[__name__] = bevkd.methods.distillbev
