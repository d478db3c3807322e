# camera_student_synthetic.py, taught by the LiDAR teacher.
_base_ = "./camera_student_synthetic.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/waymo/lidar_teacher_synthetic.py",
        checkpoint="work_dirs/waymo_teacher/epoch_3.pth",
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=100.0, relation=40.0, response=10.0)),
)

train_pipeline = [
    dict(type="LoadWaymoPoints"),
    dict(type="LoadCameras", size={{_base_.image_size}}, cameras={{_base_.cameras}}),
    {{_base_.augment}},
    dict(type="PackBEV"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
