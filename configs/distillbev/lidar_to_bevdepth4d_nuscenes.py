# DistillBEV (Wang et al., ICCV 2023) from LiDAR to BEVDepth with the key frame before, full size.
# Train configs/lidar/voxel_nuscenes.py first; it is the teacher.
_base_ = ["../camera/bevdepth_r50_nuscenes.py", "../_base_/distillbev_full.py"]

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/camera/bevdepth4d_r50_nuscenes.py",
    taps={{_base_.taps}},
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/voxel_nuscenes.py",
        checkpoint="work_dirs/voxel_nuscenes/epoch_20.pth",
        taps={{_base_.taps}},
    ),
    methods=dict(distillbev={{_base_.distillbev}}),
    init_from_teacher={"head.task_heads": "head.task_heads"},
)

train_pipeline = [
    dict(type="LoadSweeps", sweeps=9),
    dict(
        type="LoadCameras",
        size={{_base_.image_size}},
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
        previous=True,
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadCameras", size={{_base_.image_size}}, previous=True), dict(type="PackBEV")]
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, modality=dict(use_lidar=True, use_camera=True), previous=True)
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, previous=True))
test_dataloader = val_dataloader
