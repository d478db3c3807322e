# UniDistill from LiDAR and camera to LiDAR, full size. Weights of Zhou et al. (CVPR 2023).
# Train configs/fusion/lidar_camera_nuscenes.py first; it is the teacher.
_base_ = "../lidar/voxel_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    data_preprocessor=dict(  # the teacher's images; the student has none
        type="Det3DDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    teacher=dict(
        type="LiveTeacher",
        config="configs/fusion/lidar_camera_nuscenes.py",
        checkpoint="work_dirs/lidar_camera_nuscenes/epoch_20.pth",
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=10.0, relation=1.0, response=10.0)),
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(
        type="LoadCameras",
        size=(256, 704),
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
