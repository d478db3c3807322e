# UniDistill from LiDAR to LiDAR and camera, full size. Not a path of the paper: weights of fusion to LiDAR.
# Train configs/lidar/voxel_nuscenes.py first; it is the teacher.
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/fusion/lidar_camera_nuscenes.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/voxel_nuscenes.py",
        checkpoint="work_dirs/voxel_nuscenes/epoch_20.pth",
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=10.0, relation=1.0, response=10.0)),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(
        type="LoadCameras",
        size={{_base_.image_size}},
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(type="LoadCameras", size={{_base_.image_size}}),
    dict(type="PackBEV"),
]
modality = dict(use_lidar=True, use_camera=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
