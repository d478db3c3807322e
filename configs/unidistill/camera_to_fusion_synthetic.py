# UniDistill from camera to LiDAR and camera, small. Not a path of the paper: weights and adapters of
# camera to LiDAR. Train configs/synthetic/camera_student.py first; it is the teacher.
_base_ = "../synthetic/camera_student.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/synthetic/fusion.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/camera_student.py",
        checkpoint="work_dirs/camera_student/epoch_3.pth",
    ),
    methods=dict(
        unidistill=dict(
            type="UniDistill",
            feature=10.0,
            relation=5.0,
            response=1.0,
            adapters=dict(low=(64, 64), high=(96, 96)),
        ),
    ),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_both}}, modality={{_base_.both_sensors}}))
test_dataloader = val_dataloader
