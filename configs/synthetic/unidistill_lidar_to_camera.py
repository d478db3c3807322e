# The student of the demo, taught by the LiDAR teacher. Everything else is camera_student.py.
_base_ = "./camera_student.py"

teacher = dict(
    type="LiveTeacher", config="configs/synthetic/lidar_teacher.py", checkpoint="work_dirs/lidar_teacher/epoch_3.pth"
)
model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher=teacher,
    # The paper's 100, 40, 10 make the feature loss twice the detection loss here: see configs/compare/bench.py.
    methods=dict(unidistill=dict(type="UniDistill", feature=10.0, relation=5.0, response=10.0)),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
