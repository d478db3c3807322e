# Plain KD on the digits. Its teacher is trained with configs/classification/digits_teacher.py.
_base_ = "../../classification/digits_student.py"

kd = dict(type="KD", weight=1.0, temperature=4.0)
model = dict(_delete_=True, type="Distiller", student={{_base_.model}}, teacher={{_base_.teacher}}, methods=dict(kd=kd))
