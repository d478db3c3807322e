# DistillBEV (Wang et al., ICCV 2023) from LiDAR to BEVFormer, full size: the queries' map alone, with the weights
# of the paper's BEVFormer scripts. Train configs/lidar/voxel_nuscenes.py first; it is the teacher.
_base_ = "../camera/lift_splat_r50_nuscenes.py"

model = dict(
    _delete_=True,
    type="Distiller",
    student="configs/camera/bevformer_r50_nuscenes.py",
    teacher=dict(
        type="LiveTeacher",
        config="configs/lidar/voxel_nuscenes.py",
        checkpoint="work_dirs/voxel_nuscenes/epoch_20.pth",
    ),
    methods=dict(
        distillbev=dict(
            type="DistillBEV",
            levels=dict(low=dict(channels=(256, 256))),
            foreground=5e-3,
            background=4e-3,
            spatial=5e-4,
            student_attention=False,
        ),
    ),
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
