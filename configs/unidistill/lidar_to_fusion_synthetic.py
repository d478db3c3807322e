# UniDistill from LiDAR to LiDAR and camera, small. Not a path of the paper: weights of fusion to LiDAR.
# Train configs/synthetic/lidar_teacher.py first; it is the teacher.
_base_ = "../synthetic/camera_student.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/synthetic/fusion.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/synthetic/lidar_teacher.py",
        checkpoint="work_dirs/lidar_teacher/epoch_3.pth",
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=10.0, relation=1.0, response=10.0)),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_both}}, modality={{_base_.both_sensors}}))
test_dataloader = val_dataloader
