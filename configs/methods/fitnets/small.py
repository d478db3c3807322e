# FitNets on the digits, in the paper's two stages of four epochs each: the hint of the last maps, then KD.
_base_ = "../../classification/digits_student.py"

hint = dict(type="FitNets", channels=(32, 128), weight=10.0)
methods = dict(hint=hint, kd=dict(type="KD", temperature=3.0))
stages = dict(hint=[(179, 1.0), (180, 0.0)], kd=[(179, 0.0), (180, 1.0)])  # 45 steps an epoch
model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher={{_base_.teacher}},
    methods=methods,
    schedules=stages,
)
