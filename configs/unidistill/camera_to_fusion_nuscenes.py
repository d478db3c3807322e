# UniDistill from camera to LiDAR and camera, full size. Not a path of the paper: weights and adapters of
# camera to LiDAR. Train configs/camera/lift_splat_r50_nuscenes.py first; it is the teacher.
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/fusion/lidar_camera_nuscenes.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/camera/lift_splat_r50_nuscenes.py",
        checkpoint="work_dirs/lift_splat_r50_nuscenes/epoch_20.pth",
    ),
    methods=dict(
        unidistill=dict(
            type="UniDistill",
            feature=10.0,
            relation=5.0,
            response=1.0,
            adapters=dict(low=(256, 256), high=(512, 512)),
        ),
    ),
)

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_both}}, modality={{_base_.both_sensors}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_both}}, modality={{_base_.both_sensors}}))
test_dataloader = val_dataloader
