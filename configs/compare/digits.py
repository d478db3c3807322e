# What plain KD and FitNets gain on handwritten digits, three seeds: minutes on one core.
#   python tools/compare.py configs/compare/digits.py --threads 1
world = dict(root="data/digits", maker="bevkd.tasks.classification.samples.write_digits")
splits = dict(seen="validation images")
metrics = ("accuracy", "mean_class_accuracy")
seeds = (0, 1, 2)

teachers = dict(wide=dict(config="configs/classification/digits_teacher.py"))
students = dict(narrow=dict(config="configs/classification/digits_student.py"))
_pair = dict(path="wide → narrow", teacher="wide", student="narrow")
arms = dict(
    kd=dict(**_pair, method="KD", config="configs/methods/kd/small.py"),
    fitnets=dict(**_pair, method="FitNets, then KD", config="configs/methods/fitnets/small.py"),
)
