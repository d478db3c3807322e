# FitNets on the digits, in the paper's two stages: the hint of the last maps, then KD.
_base_ = "../../classification/digits_student.py"

methods = dict(
    hint=dict(type="FitNets", channels=(32, 128), weight=10.0),
    kd=dict(type="KD", weight=1.0, temperature=4.0),
)
half = 4 * 45  # steps
model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher={{_base_.teacher}},
    methods=methods,
    schedules=dict(hint=[(half - 1, 1.0), (half, 0.0)], kd=[(half - 1, 0.0), (half, 1.0)]),
)
