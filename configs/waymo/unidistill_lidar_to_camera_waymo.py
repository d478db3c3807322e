# UniDistill from LiDAR to camera, full size. Train configs/waymo/pillar_waymo.py first; it is the teacher.
_base_ = "./lift_splat_r50_waymo.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student={{_base_.model}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/waymo/pillar_waymo.py",
        checkpoint="work_dirs/pillar_waymo/epoch_20.pth",
    ),
    methods=dict(unidistill=dict(type="UniDistill", feature=100.0, relation=40.0, response=10.0)),
)

train_pipeline = [
    dict(type="LoadWaymoPoints"),
    dict(
        type="LoadCameras",
        size={{_base_.image_size}},
        cameras={{_base_.cameras}},
        augment=dict(resize=(0.9, 1.2), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True)))
